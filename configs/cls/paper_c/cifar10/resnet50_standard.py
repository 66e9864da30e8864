# Paper C, standard transfer to CIFAR-10: the dense network, from robust weights or any others.
_base_ = [
    '../../../_base_/models/resnet50_robust.py',
    '../../../_base_/datasets/cifar10_paper_c.py',
    '../../../_base_/schedules/paper_c_standard.py',
]
record = dict(task='CIFAR-10')
model = dict(head=dict(num_classes=10))
