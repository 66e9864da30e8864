# Digit scenes for detection, in VOC layout; made at first use.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    # Scenes have this size already; the heads ask for the scale factor.
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    # The truth, for the metric and for pictures.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    drop_last=True,
    dataset=dict(type='DigitScenesDetection', split='train', pipeline=train_pipeline, serialize_data=False))
val_dataloader = dict(
    batch_size=20,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='DigitScenesDetection', split='test', pipeline=test_pipeline, test_mode=True))
val_evaluator = dict(type='VOCMetric', metric='mAP', eval_mode='area', iou_thrs=0.5)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
