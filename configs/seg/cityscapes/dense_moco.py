# Cityscapes segmentation from MoCo v2 weights, dense.
_base_ = ['./deeplabv3plus_resnet50_cityscapes.py', '../../_base_/tickets/moco.py']

model = dict(
    data_preprocessor=dict(mean={{_base_.pixel_mean}}, std={{_base_.pixel_std}}),
    backbone=dict(
        init_cfg=dict(type='PretrainedBackbone', checkpoint={{_base_.pretrained_weights}})))
