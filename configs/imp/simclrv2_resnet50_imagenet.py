# What the larger model is compared with: SimCLRv2's ResNet-50 (paper A, Figs. 9 and 12).
_base_ = './simclrv2_resnet152_imagenet.py'
weights = '{{$LTH_WEIGHTS:weights}}/r50_1x_sk0.pth'
model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint=weights)),
    neck=dict(init_cfg=dict(checkpoint=weights)))
