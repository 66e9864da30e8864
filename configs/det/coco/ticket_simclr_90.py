# COCO detection from the SimCLR ticket at 89.26 % sparsity.
_base_ = ['./yolo_resnet50_coco.py', '../../_base_/tickets/simclr_90.py']

model = dict(data_preprocessor=dict(mean={{_base_.pixel_mean}}, std={{_base_.pixel_std}}))
