# Paper B, table of recipes: RotNet, ResNet-50. A picture's four turned copies are in one batch, which
# is counted in pictures; whether the paper counts copies is not said.
_base_ = [
    '../../../_base_/models/imagenet_resnet50.py',
    '../../../_base_/datasets/imagenet_labels.py',
    '../../../_base_/schedules/paper_b_imagenet.py',
]
record = dict(task='ImageNet RotNet')

model = dict(head=dict(num_classes=4, topk=(1, )))
data_preprocessor = dict(type='RotationPreprocessor', num_classes=4)
val_evaluator = dict(_delete_=True, type='RotationAccuracy')
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=1.0, weight_decay=1e-5))
param_scheduler = [
    dict(type='LinearLR', by_epoch=True, start_factor=1e-4, begin=0, end=5,
         convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[50, 65, 80], gamma=0.1),
]

# 16 x 96 in the paper; 1536 over all processes, whatever their number.
assert 1536 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 1536 cannot be dealt out evenly'
batch_size = 1536 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(batch_size=batch_size)
