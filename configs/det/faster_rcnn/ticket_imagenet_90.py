# Faster R-CNN on VOC from the ImageNet ticket at 89.26 % sparsity: (m_P, θ_P) of paper A, Fig. 11.
_base_ = ['./faster_rcnn_resnet50_voc.py', '../../_base_/tickets/imagenet_90.py']

model = dict(data_preprocessor=dict(mean={{_base_.pixel_mean}}, std={{_base_.pixel_std}}))
