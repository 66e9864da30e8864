# Paper C, standard transfer to SVHN: the dense network, from robust weights or any others.
_base_ = [
    '../../../_base_/models/resnet50_robust.py',
    '../../../_base_/datasets/svhn_paper_c.py',
    '../../../_base_/schedules/paper_c_standard.py',
]
record = dict(task='SVHN')
model = dict(head=dict(num_classes=10))
