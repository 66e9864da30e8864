# Paper B, Fig. 1: a linear classifier on frozen features, trained on ImageNet. From a checkpoint of any
# pre-training, dense or pruned: --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = [
    '../../_base_/models/resnet50_features.py',
    '../../_base_/datasets/imagenet.py',
    '../../_base_/schedules/goyal_linear.py',
]
record = dict(task='ImageNet linear')

model = dict(
    type='FrozenBackboneClassifier',
    neck=[
        dict(type='GlobalAveragePooling'),
        dict(type='ClsBatchNormNeck', input_features=2048, eps=1e-5),
    ],
    head=dict(init_cfg=dict(type='Normal', layer='Linear', std=0.01)))

# Of the data sets that it is trained on: random crops of 8 % to all of the image, in other colours.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(
        type='Lighting',
        eigval=[55.4625, 4.7940, 1.1475],
        eigvec=[
            [-0.5675, 0.7192, 0.4009],
            [-0.5808, -0.0045, -0.8140],
            [-0.5836, -0.6948, 0.4203],
        ],
        alphastd=0.1),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    sampler=dict(type='InfiniteSampler', shuffle=True), dataset=dict(pipeline=train_pipeline))
