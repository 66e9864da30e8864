# VisDA2017, 12 classes: trained on renderings, validated on photographs (paper A, section A.3).
# The paper both chooses the epoch and reports on the validation list, and so does this: its number
# is the best of 20 epochs on the data reported. LTH_DATA_ROOT names the folder that holds visda2017.
dataset_type = 'VisDA2017'
data_root = '{{$LTH_DATA_ROOT:data}}/visda2017'

# ImageNet's, from B, G, R as files are read to R, G, B.
data_preprocessor = dict(
    num_classes=12,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True)

# Pillow, as in the paper's code: what it cannot read to the end it refuses, and its resizing
# smooths when it makes smaller.
load_image = dict(type='LoadImageFromFile', imdecode_backend='pillow')
train_pipeline = [
    load_image,
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.75, 1.33),
        backend='pillow',
        interpolation='bilinear'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    load_image,
    dict(type='Resize', scale=(224, 224), backend='pillow', interpolation='bilinear'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type=dataset_type, data_root=data_root, domain='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        domain='validation',
        pipeline=test_pipeline,
        test_mode=True))
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
