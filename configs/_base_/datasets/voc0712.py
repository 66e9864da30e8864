# VOC 2007 and 2012 trainval for training, VOC 2007 test for evaluation, at 1000 x 600 pixels.
# LTH_DATA_ROOT names the folder that holds VOCdevkit. Boxes marked difficult are left out of
# training, and neither count nor cost anything in evaluation.
data_root = '{{$LTH_DATA_ROOT:data}}/VOCdevkit/'

# The wrapper below it runs the rest, so that a config changes one pipeline for both years.
voc_trainval = dict(
    type='ConcatDataset',
    ignore_keys=['dataset_type'],
    datasets=[
        dict(
            type='VOCDetection',
            data_root=data_root,
            ann_file=f'{year}/ImageSets/Main/trainval.txt',
            data_prefix=dict(sub_data_root=f'{year}/'),
            filter_cfg=dict(filter_empty_gt=True, min_size=1, bbox_min_size=1),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
            ]) for year in ('VOC2007', 'VOC2012')
    ])
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='MultiImageMixDataset',
        dataset=voc_trainval,
        pipeline=[
            dict(type='Resize', scale=(1000, 600), keep_ratio=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ]))

pack_for_test = dict(
    type='PackDetInputs',
    meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VOCDetection',
        data_root=data_root,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(1000, 600), keep_ratio=True),
            # After resizing: the truth stays in pixels of the picture as it was.
            dict(type='LoadAnnotations', with_bbox=True),
            pack_for_test,
        ]))
test_dataloader = val_dataloader

# Paper A, section A.3: the mean of ten thresholds, each by VOC 2007's 11 points; AP50 and AP75.
val_evaluator = dict(
    type='VOCAveragePrecision',
    iou_thrs=[0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95],
    eval_mode='11points')
test_evaluator = val_evaluator
