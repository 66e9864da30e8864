_base_ = './resnet18_w16.py'

model = dict(
    type='FCOS',
    backbone=dict(
        out_indices=(3, ),
        # Output stride 8: at 32 a digit is smaller than a pixel of the last feature map.
        strides=(1, 2, 1, 1)),
    # One level is enough for objects of 20 to 34 pixels.
    neck=dict(
        type='FPN',
        in_channels=[128],
        out_channels=48,
        num_outs=1),
    bbox_head=dict(
        type='FCOSHead',
        num_classes=10,
        in_channels=48,
        feat_channels=48,
        stacked_convs=1,
        strides=[8],
        regress_ranges=((-1, 1e8), ),
        center_sampling=True,
        norm_on_bbox=True,
        centerness_on_reg=True,
        norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
        # From the usual 0.01 of `conv_cls`, all digits first grow into one and the same
        # "object", and hundreds of steps pass before they part.
        init_cfg=dict(
            type='Normal',
            layer='Conv2d',
            std=0.01,
            override=dict(type='Normal', name='conv_cls', std=0.1, bias_prob=0.01)),
        loss_cls=dict(
            type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0)),
    test_cfg=dict(
        nms_pre=200,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=30))
