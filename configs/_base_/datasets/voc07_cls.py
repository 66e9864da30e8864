# VOC 2007 as multi-label classification: trainval for training, test for evaluation, 224 pixels from
# the centre in evaluation (paper B, section 3 and supplement). LTH_DATA_ROOT names the folder that holds
# VOCdevkit. Objects marked difficult are no labels; in evaluation an image that shows a class in such
# objects only is left out of that class.
data_root = '{{$LTH_DATA_ROOT:data}}/VOCdevkit/VOC2007'

data_preprocessor = dict(
    num_classes=20,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    to_onehot=True)

pack_with_difficult = dict(
    type='PackInputs',
    meta_keys=('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'gt_label_difficult'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    pack_with_difficult,
]

# 128 images over all processes, whatever their number: not in the paper, but Goyal et al.'s.
assert 128 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 128 cannot be dealt out evenly'
batch_size = 128 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='VOC', data_root=data_root, split='trainval', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='VOC', data_root=data_root, split='test', pipeline=test_pipeline))
val_evaluator = dict(type='VOCClassificationAP')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
