# ResNet-18 for pictures of 32 pixels: a 3 x 3 stem of stride 1 and no max-pooling.
_base_ = './cifar_resnet50.py'

model = dict(backbone=dict(depth=18), head=dict(in_channels=512))
