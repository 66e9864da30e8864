_base_ = './resnet18_w16.py'

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(
        out_indices=(0, 1, 2, 3),
        # Output stride 8: at 32 a digit is smaller than a pixel of the last feature map.
        # Undilated, the weights do better here; the head still is dilated.
        strides=(1, 2, 1, 1)),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=128,
        in_index=3,
        channels=64,
        dilations=(1, 2, 3),  # the last feature map is 12 pixels wide
        c1_in_channels=16,
        c1_channels=8,
        dropout_ratio=0.0,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        # From the usual 0.01, all digits first grow into one and the same "not background",
        # and hundreds of steps pass before they part.
        init_cfg=dict(type='Normal', std=0.2, override=dict(name='conv_seg'))),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
