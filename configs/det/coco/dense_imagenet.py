# COCO detection from ImageNet weights, dense.
_base_ = ['./yolo_resnet50_coco.py', '../../_base_/tickets/imagenet.py']

model = dict(
    data_preprocessor=dict(mean={{_base_.pixel_mean}}, std={{_base_.pixel_std}}),
    backbone=dict(
        init_cfg=dict(type='PretrainedBackbone', checkpoint={{_base_.pretrained_weights}})))
