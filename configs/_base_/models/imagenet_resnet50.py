# ResNet-50 as torchvision has it, with its 7 x 7 stem.
_base_ = './cifar_resnet50.py'

model = dict(backbone=dict(type='ResNet'), head=dict(num_classes=1000))
