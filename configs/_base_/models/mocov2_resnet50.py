# ResNet-50 as facebookresearch/moco trained it, with its projection head. LTH_WEIGHTS names the
# folder. Of a file with both encoders the one of the queries is taken.
weights = '{{$LTH_WEIGHTS:weights}}/moco_v2_800ep_pretrain.pth.tar'
model = dict(
    type='MoCo',
    queue_len=65536,
    feat_dim=128,
    momentum=0.001,  # what the keys' encoder takes over in a step: MoCo's m is 0.999
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(3, ),
        zero_init_residual=False,
        style='pytorch',
        init_cfg=dict(type='PretrainedBackbone', checkpoint=weights)),
    neck=dict(
        type='MoCoV2Neck',
        in_channels=2048,
        hid_channels=2048,
        out_channels=128,
        with_avg_pool=True,
        init_cfg=dict(
            type='PretrainedLayers',
            checkpoint=weights,
            # By the names of the official files, and of mmpretrain's.
            layers={'mlp.0': ['fc.0', 'neck.mlp.0'], 'mlp.2': ['fc.2', 'neck.mlp.2']})),
    head=dict(
        type='ContrastiveHead',
        loss=dict(type='CrossEntropyLoss'),
        temperature=0.2))
