# ResNet-50 as google-research/simclr trained it, converted to torchvision's names by
# tonylins/simclr-converter, which leaves the projection head out: it starts at random, and is
# rewound to where it started. LTH_WEIGHTS names the folder.
weights = '{{$LTH_WEIGHTS:weights}}/resnet50-1x.pth'
model = dict(
    type='WholeBatchSimCLR',
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(3, ),
        zero_init_residual=False,
        style='pytorch',
        init_cfg=dict(type='PretrainedBackbone', checkpoint=weights)),
    # Linear, ReLU, linear, as in the paper's code; MoCo v2 took its own from SimCLR.
    neck=dict(
        type='MoCoV2Neck',
        in_channels=2048,
        hid_channels=2048,
        out_channels=128,
        with_avg_pool=True),
    head=dict(
        type='ContrastiveHead',
        loss=dict(type='CrossEntropyLoss'),
        temperature=0.5))
