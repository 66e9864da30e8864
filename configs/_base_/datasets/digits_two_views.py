# Two views of every digit, for contrastive learning.
data_preprocessor = dict(
    type='SelfSupDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3, to_rgb=False)

view_pipeline = [dict(type='RandomDigitView')]
train_pipeline = [
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(type='DigitsDataset', split='train', pipeline=train_pipeline))
