# Paper B, table of recipes: Exemplar, ResNet-50. The linear layer behind the features, in place of the
# last one, gives 128 numbers, which are compared: how many the paper has is not said.
_base_ = [
    '../../../_base_/models/imagenet_resnet50.py',
    '../../../_base_/datasets/imagenet_exemplar.py',
    '../../../_base_/schedules/paper_b_imagenet.py',
]
record = dict(task='ImageNet Exemplar')

model = dict(type='Exemplar', head=dict(_delete_=True, type='TripletMarginHead', in_channels=2048))
train_cfg = dict(max_epochs=40)
optim_wrapper = dict(optimizer=dict(lr=0.3, weight_decay=1e-5))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[20, 30], gamma=0.1)]

# 32 x 48 in the paper; 1536 over all processes, whatever their number.
assert 1536 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 1536 cannot be dealt out evenly'
batch_size = 1536 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(batch_size=batch_size)
