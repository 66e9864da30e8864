# Paper A, Fig. 3: CIFAR-100 from random weights, dense. Tickets and rounds start from this file.
_base_ = [
    '../../_base_/models/cifar_resnet50.py',
    '../../_base_/datasets/cifar100.py',
    '../../_base_/schedules/paper_a_cifar.py',
]

model = dict(head=dict(num_classes=100))
