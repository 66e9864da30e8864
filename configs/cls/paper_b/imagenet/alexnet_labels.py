# Paper B, table of recipes: ImageNet's labels, AlexNet. What masks are trained on in the end, too.
_base_ = [
    '../../../_base_/models/imagenet_alexnet.py',
    '../../../_base_/datasets/imagenet_labels.py',
    '../../../_base_/schedules/paper_b_imagenet.py',
]
record = dict(task='ImageNet labels')

optim_wrapper = dict(optimizer=dict(lr=0.4))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60], gamma=0.1)]

# 8 x 512 in the paper; 4096 over all processes, whatever their number.
assert 4096 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 4096 cannot be dealt out evenly'
batch_size = 4096 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(batch_size=batch_size)
