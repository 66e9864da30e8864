# Two views of every image of ImageNet, as Exemplar makes them: crops and flips, colours and small
# turns besides (paper B, supplement 6.4, which gives no strengths). Up to 20 degrees is Exemplar's
# own (Dosovitskiy et al., 2014); colours are changed as mildly as for MoCo v2. There are no labels
# to validate with. Who inherits says how many pictures are in a batch.
_base_ = './imagenet_loaders.py'

data_preprocessor = dict(
    type='SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True)

view_pipeline = [
    dict(type='RandomResizedCrop', scale=224, backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='Rotate',
        magnitude_range=(0, 20),
        magnitude_std='inf',  # evenly spread
        prob=1.0,
        random_negative_prob=0.5,
        interpolation='bilinear',
        pad_val=(104, 116, 124)),  # the mean; pictures are B, G, R here
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = None
test_dataloader = None
