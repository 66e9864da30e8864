# Paper C, standard transfer to CIFAR-100: the dense network, from robust weights or any others.
_base_ = [
    '../../../_base_/models/resnet50_robust.py',
    '../../../_base_/datasets/cifar100_paper_c.py',
    '../../../_base_/schedules/paper_c_standard.py',
]
record = dict(task='CIFAR-100')
model = dict(head=dict(num_classes=100))
