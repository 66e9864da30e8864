# S4L: labels of one image in ten, and the turns of all.
_base_ = './rotnet.py'

model = dict(
    head=dict(
        _delete_=True,
        type='WholeBatchMultiTaskHead',
        task_heads=dict(
            label=dict(type='LinearClsHead', num_classes=4),
            rotation=dict(type='LinearClsHead', num_classes=4)),
        in_channels=128))
data_preprocessor = dict(type='SemiSupervisedRotationPreprocessor')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='Portion',
        images=0.1,
        hide_labels=True,
        dataset=dict(
            type='DigitsDataset',
            split='train',
            classes={{_base_.classes}},
            pipeline=[dict(type='RandomDigitView'), dict(type='PackInputs')])))
val_evaluator = dict(
    _delete_=True,
    type='MultiTasksMetric',
    task_metrics=dict(label=[dict(type='Accuracy', topk=(1, ))]))
test_evaluator = val_evaluator
