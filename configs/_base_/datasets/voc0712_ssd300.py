# VOC 2007 and 2012 as SSD300 is trained on them, in mmdet's own terms (ssd300_voc0712.py).
_base_ = './voc0712.py'

mean_colour = [123.675, 116.28, 103.53]  # of pictures, whatever the network is given
train_dataloader = dict(
    batch_size=32,
    dataset=dict(pipeline=[
        dict(type='Expand', mean=mean_colour, to_rgb=True, ratio_range=(1, 4)),
        dict(type='MinIoURandomCrop', min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3),
        dict(type='Resize', scale=(300, 300), keep_ratio=False),
        dict(type='RandomFlip', prob=0.5),
        dict(
            type='PhotoMetricDistortion',
            brightness_delta=32,
            contrast_range=(0.5, 1.5),
            saturation_range=(0.5, 1.5),
            hue_delta=18),
        dict(type='PackDetInputs'),
    ]))
val_dataloader = dict(
    batch_size=8,
    dataset=dict(pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(300, 300), keep_ratio=False),
        dict(type='LoadAnnotations', with_bbox=True),
        {{_base_.pack_for_test}},
    ]))
test_dataloader = val_dataloader
