# VOC 2007 and 2012 as paper A's YOLOv4 sees them: letter-boxed to 416 pixels on grey 128; flipped,
# cropped, moved and mixed with another picture with probability 1/2 each.
_base_ = './voc0712.py'

letter_box = [
    dict(type='Resize', scale=(416, 416), keep_ratio=True),
    dict(type='Pad', size=(416, 416), pad_val=dict(img=(128, 128, 128))),
]
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='MultiImageMixDataset',  # without mixing: what each of the two pictures gets
            dataset={{_base_.voc_trainval}},
            pipeline=[
                dict(type='RandomFlip', prob=0.5),
                dict(type='RandomApply', transforms=[dict(type='MinIoURandomCrop')], prob=0.5),
                dict(type='RandomShift', prob=0.5, max_shift_px=64),
                *letter_box,
            ]),
        pipeline=[
            dict(type='BetaMixUp', prob=0.5, alpha=1.5),
            dict(type='PackDetInputs'),
        ]))
val_dataloader = dict(
    batch_size=8,
    dataset=dict(pipeline=[
        dict(type='LoadImageFromFile'),
        *letter_box,
        dict(type='LoadAnnotations', with_bbox=True),
        {{_base_.pack_for_test}},
    ]))
test_dataloader = val_dataloader
