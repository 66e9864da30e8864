# VGG-19 for pictures of 32 pixels, with batch norms, and with one fully connected layer in place of
# three (paper B, supplement).
model = dict(
    type='ImageClassifier',
    backbone=dict(type='VGG', depth=19, norm_cfg=dict(type='BN', requires_grad=True)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=512,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1, )))
