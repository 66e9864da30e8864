# Paper B, table of recipes: Exemplar, AlexNet.
_base_ = [
    '../../../_base_/models/imagenet_alexnet.py',
    '../../../_base_/datasets/imagenet_exemplar.py',
    '../../../_base_/schedules/paper_b_imagenet.py',
]
record = dict(task='ImageNet Exemplar')

model = dict(type='Exemplar', head=dict(_delete_=True, type='TripletMarginHead', in_channels=4096))
train_cfg = dict(max_epochs=30)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[20], gamma=0.1)]

# 16 x 256 in the paper; 4096 over all processes, whatever their number.
assert 4096 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 4096 cannot be dealt out evenly'
batch_size = 4096 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(batch_size=batch_size)
