# Paper A, Fig. 4: VisDA2017 from random weights, dense. Tickets and rounds start from this file.
_base_ = [
    '../../_base_/models/imagenet_resnet50.py',
    '../../_base_/datasets/visda2017.py',
    '../../_base_/schedules/paper_a_visda.py',
]

model = dict(head=dict(num_classes=12))
