# (m_sim, θ_sim): tickets of SimCLR (paper A, Fig. 2 and Table 1).
_base_ = [
    '../_base_/models/simclr_resnet50.py',
    '../_base_/datasets/imagenet_simclr.py',
    '../_base_/schedules/paper_a_pretraining.py',
]
imp = dict(preset='paper-a')
