_base_ = './resnet18_w16.py'

model = dict(
    type='SimCLR',
    backbone=dict(out_indices=(3, )),
    neck=dict(
        type='NonLinearNeck',
        in_channels=128,
        hid_channels=128,
        out_channels=64,
        num_layers=2,
        with_avg_pool=True,
        # The default, SyncBN, does not run on a CPU.
        norm_cfg=dict(type='BN1d')),
    head=dict(
        type='ContrastiveHead',
        loss=dict(type='CrossEntropyLoss'),
        temperature=0.2))
