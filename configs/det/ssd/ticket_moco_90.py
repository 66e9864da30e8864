# SSD300 on VOC from the MoCo v2 ticket at 89.26 % sparsity: (m_P, θ_P) of paper A, Fig. 11.
_base_ = ['./ssd_resnet50_voc.py', '../../_base_/tickets/moco_90.py']

model = dict(data_preprocessor=dict(mean={{_base_.pixel_mean}}, std={{_base_.pixel_std}}))
