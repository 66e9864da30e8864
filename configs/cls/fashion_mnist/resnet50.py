# Paper A, Fig. 3: Fashion-MNIST from random weights, dense. Tickets and rounds start from this file.
_base_ = [
    '../../_base_/models/cifar_resnet50.py',
    '../../_base_/datasets/fashion_mnist.py',
    '../../_base_/schedules/paper_a_cifar.py',
]

model = dict(backbone=dict(in_channels=1))
