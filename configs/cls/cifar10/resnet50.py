# Paper A, Fig. 3: CIFAR-10 from random weights, dense. Tickets and rounds start from this file.
_base_ = [
    '../../_base_/models/cifar_resnet50.py',
    '../../_base_/datasets/cifar10.py',
    '../../_base_/schedules/paper_a_cifar.py',
]
