# (m_MoCo, θ_MoCo): tickets of MoCo v2 (paper A, Fig. 2 and Table 1).
_base_ = [
    '../_base_/models/mocov2_resnet50.py',
    '../_base_/datasets/imagenet_mocov2.py',
    '../_base_/schedules/paper_a_pretraining.py',
]
imp = dict(preset='paper-a')
optim_wrapper = dict(optimizer=dict(lr=3e-4))
