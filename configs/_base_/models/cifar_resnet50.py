# ResNet-50 for pictures of about 32 pixels (paper A, section A.3: network): a 3 x 3 stem of stride 1
# and no max-pooling. A ticket from ImageNet fits everywhere but in conv1, which is not pruned; with
# ticket.partial=True that and the head keep their random values.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR',
        depth=50,
        out_indices=(3, ),
        norm_cfg=dict(type='BN', requires_grad=True),
        zero_init_residual=False,  # as torchvision's, whose weights are taken
        style='pytorch'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1, )))
