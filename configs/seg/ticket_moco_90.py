# VOC 2012 segmentation from the MoCo v2 ticket at 89.26 % sparsity: (m_P, θ_P) of paper A, Fig. 5.
_base_ = ['./deeplabv3plus_resnet50_voc.py', '../_base_/tickets/moco_90.py']

model = dict(data_preprocessor=dict(mean={{_base_.pixel_mean}}, std={{_base_.pixel_std}}))
