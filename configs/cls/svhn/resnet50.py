# Paper A, Fig. 3: SVHN from random weights, dense. Tickets and rounds start from this file.
_base_ = [
    '../../_base_/models/cifar_resnet50.py',
    '../../_base_/datasets/svhn.py',
    '../../_base_/schedules/paper_a_cifar.py',
]
