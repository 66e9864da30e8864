# Paper B, table of recipes: RotNet, AlexNet. The batch is counted in pictures, not in turned copies.
_base_ = [
    '../../../_base_/models/imagenet_alexnet.py',
    '../../../_base_/datasets/imagenet_labels.py',
    '../../../_base_/schedules/paper_b_imagenet.py',
]
record = dict(task='ImageNet RotNet')

model = dict(head=dict(num_classes=4, topk=(1, )))
data_preprocessor = dict(type='RotationPreprocessor', num_classes=4)
val_evaluator = dict(_delete_=True, type='RotationAccuracy')
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=0.5, weight_decay=1e-5))
param_scheduler = [
    dict(type='LinearLR', by_epoch=True, start_factor=1e-4, begin=0, end=2,
         convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60], gamma=0.1),
]

# 16 x 512 in the paper; 8192 over all processes, whatever their number.
assert 8192 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 8192 cannot be dealt out evenly'
batch_size = 8192 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(batch_size=batch_size)
