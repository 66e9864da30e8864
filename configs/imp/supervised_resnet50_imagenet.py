# (m_Img, θ_Img): tickets of ImageNet's labels (paper A, Fig. 2 and Table 1).
_base_ = [
    '../_base_/models/resnet50_supervised.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/paper_a_pretraining.py',
]
imp = dict(preset='paper-a')
