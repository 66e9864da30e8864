# The larger model: tickets of SimCLRv2's ResNet-152 (paper A, Figs. 9 and 12).
_base_ = [
    '../_base_/models/simclrv2_resnet152.py',
    '../_base_/datasets/imagenet_simclr.py',
    '../_base_/schedules/paper_a_pretraining.py',
]
imp = dict(preset='paper-a')
