# ResNet-152 as google-research/simclr trained it for SimCLRv2, with its projection head of three
# layers, converted by Separius/SimCLRv2-Pytorch. LTH_WEIGHTS names the folder.
weights = '{{$LTH_WEIGHTS:weights}}/r152_1x_sk0.pth'
model = dict(
    type='WholeBatchSimCLR',
    backbone=dict(
        type='ResNet',
        depth=152,
        out_indices=(3, ),
        zero_init_residual=False,
        style='pytorch',
        init_cfg=dict(type='PretrainedBackbone', checkpoint=weights)),
    neck=dict(
        type='NonLinearNeck',
        in_channels=2048,
        hid_channels=2048,
        out_channels=128,
        num_layers=3,
        with_avg_pool=True,
        norm_cfg=dict(type='BN1d'),
        init_cfg=dict(
            type='PretrainedLayers',
            checkpoint=weights,
            layers=dict(
                fc0='head.layers.0', bn0='head.layers.1',
                fc1='head.layers.3', bn1='head.layers.4',
                fc2='head.layers.6', bn2='head.layers.7'))),
    head=dict(
        type='ContrastiveHead',
        loss=dict(type='CrossEntropyLoss'),
        temperature=0.5))
