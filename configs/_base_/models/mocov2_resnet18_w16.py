_base_ = './resnet18_w16.py'

model = dict(
    type='MoCo',
    # Far fewer keys than images, so that hardly any image meets itself among the negatives, and
    # an encoder of the keys that follows within a few steps: the training has a few hundred.
    queue_len=256,
    momentum=0.5,
    feat_dim=64,
    backbone=dict(out_indices=(3, )),
    # With batch norm, which the paper's MLP does not have: without it, all embeddings start in
    # one place and do not leave it in time.
    neck=dict(
        type='NonLinearNeck',
        in_channels=128,
        hid_channels=128,
        out_channels=64,
        num_layers=2,
        with_avg_pool=True,
        norm_cfg=dict(type='BN1d')),
    head=dict(
        type='ContrastiveHead',
        loss=dict(type='CrossEntropyLoss'),
        temperature=0.2))
