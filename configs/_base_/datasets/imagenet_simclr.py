# Two views of every image of ImageNet, as SimCLR makes them (colours at full strength).
# LTH_DATA_ROOT names the folder that holds imagenet/train and imagenet/val.
data_root = '{{$LTH_DATA_ROOT:data}}/imagenet'
# Pixels in [0, 1]: the published SimCLR weights were trained without normalisation.
data_preprocessor = dict(
    type='SelfSupDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3, to_rgb=True)

view_pipeline = [
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        transforms=[
            dict(type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2),
        ],
        prob=0.8),
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]

# 256 images over all processes, whatever their number (torchrun sets WORLD_SIZE).
assert 256 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 256 cannot be dealt out evenly'
batch_size = 256 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='train',
        data_prefix='train',
        pipeline=train_pipeline))
# Two views of every validation image, made as in training: do they find each other?
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='val',
        data_prefix='val',
        pipeline=train_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='RetrievalAccuracy')
test_evaluator = val_evaluator
val_cfg = dict(type='TwoViewValLoop')
test_cfg = dict(type='TwoViewTestLoop')
