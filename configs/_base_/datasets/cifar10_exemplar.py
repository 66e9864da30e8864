# Two views of every picture of CIFAR-10, as Exemplar makes them: see imagenet_exemplar.py.
_base_ = './cifar10_paper_b.py'

data_preprocessor = dict(
    _delete_=True,
    type='SelfSupDataPreprocessor',
    mean=_base_.data_preprocessor.mean,
    std=_base_.data_preprocessor.std,
    to_rgb=False)

view_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(
        type='Rotate',
        magnitude_range=(0, 20),
        magnitude_std='inf',
        prob=1.0,
        random_negative_prob=0.5,
        interpolation='bilinear',
        pad_val=(125, 123, 114)),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
]
train_pipeline = [
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = None
test_dataloader = None
val_evaluator = None
test_evaluator = None
val_cfg = None
test_cfg = None
