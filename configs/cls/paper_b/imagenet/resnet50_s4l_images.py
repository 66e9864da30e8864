# Paper B, Fig. 5a: S4L, the turns of all of ImageNet's images and the labels of 10 % of them.
# Epochs are of all images. The two losses are added, and only the upright copy has a label.
_base_ = [
    '../../../_base_/models/imagenet_resnet50.py',
    '../../../_base_/datasets/imagenet_labels.py',
    '../../../_base_/schedules/paper_b_imagenet_200e.py',
]
record = dict(task='ImageNet S4L, 10 % of images')

model = dict(
    head=dict(
        _delete_=True,
        type='WholeBatchMultiTaskHead',
        task_heads=dict(
            label=dict(type='LinearClsHead', num_classes=1000),
            rotation=dict(type='LinearClsHead', num_classes=4)),
        in_channels=2048))
data_preprocessor = dict(type='SemiSupervisedRotationPreprocessor')
optim_wrapper = dict(optimizer=dict(weight_decay=3e-4))
val_evaluator = dict(
    _delete_=True,
    type='MultiTasksMetric',
    task_metrics=dict(label=[dict(type='Accuracy', topk=(1, 5))]))
test_evaluator = val_evaluator

# 32 x 64 in the paper; 2048 over all processes, whatever their number.
assert 2048 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 2048 cannot be dealt out evenly'
batch_size = 2048 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        _delete_=True,
        type='Portion',
        images=0.1,
        hide_labels=True,
        dataset=_base_.train_dataloader.dataset))
