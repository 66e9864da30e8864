# Paper A's detector, YOLOv4 on a ResNet-50, from mmdet's parts: C3-C5 -> SPP -> PAN -> three
# anchor heads. The pixel normalisation is ImageNet's, until a config says from which weights it
# starts.
custom_imports = dict(imports=['lth_det'], allow_failed_imports=False)
model = dict(
    type='YOLOV3',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(1, 2, 3),
        frozen_stages=-1,
        norm_eval=False,
        style='pytorch'),
    neck=[
        dict(type='SpatialPyramidPooling', channels=2048, kernel_sizes=(5, 9, 13)),
        dict(
            type='PAFPN',
            in_channels=[512, 1024, 2048],
            out_channels=256,
            num_outs=3,
            norm_cfg=dict(type='BN'),
            act_cfg=dict(type='LeakyReLU', negative_slope=0.1)),
    ],
    bbox_head=dict(
        type='MeanLossYOLOV3Head',
        num_classes=20,
        in_channels=[256, 256, 256],
        out_channels=[256, 512, 1024],
        anchor_generator=dict(
            type='YOLOAnchorGenerator',
            base_sizes=[
                [(12, 16), (19, 36), (40, 28)],
                [(36, 75), (76, 55), (72, 146)],
                [(142, 110), (192, 243), (459, 401)],
            ],
            strides=[8, 16, 32]),
        bbox_coder=dict(type='YOLOBBoxCoder'),
        featmap_strides=[8, 16, 32],
        loss_cls=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0, reduction='sum'),
        loss_conf=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0, reduction='sum'),
        loss_xy=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=2.0, reduction='sum'),
        loss_wh=dict(type='MSELoss', loss_weight=2.0, reduction='sum')),
    train_cfg=dict(
        assigner=dict(type='GridAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0)),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.005,
        conf_thr=0.005,
        nms=dict(type='nms', iou_threshold=0.45),
        max_per_img=100))
