# ResNet-50 as torchvision trained it on ImageNet, with its last layer. LTH_WEIGHTS names the folder.
weights = '{{$LTH_WEIGHTS:weights}}/resnet50-0676ba61.pth'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(3, ),
        zero_init_residual=False,
        style='pytorch',
        init_cfg=dict(type='PretrainedBackbone', checkpoint=weights)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1, 5),
        init_cfg=dict(
            type='PretrainedLayers', checkpoint=weights, layers=dict(fc=['fc', 'last_linear']))))
