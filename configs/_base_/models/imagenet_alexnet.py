# AlexNet as torchvision has it, without batch norms: paper B does not say otherwise. The last of its
# fully connected layers is the head.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='AlexNetTrunk'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=4096,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1, 5)))
