# ResNet-50 whose features are to be used: the mean of its last map, 2048 of them. What it starts from
# is said with --cfg-options model.backbone.init_cfg.checkpoint=FILE: a checkpoint of any pre-training,
# published or from a level of a chain, dense or pruned. LTH_WEIGHTS names the folder of the default.
_base_ = './imagenet_resnet50.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint='{{$LTH_WEIGHTS:weights}}/resnet50-0676ba61.pth')))
