# Cityscapes segmentation from the SimCLR ticket at 89.26 % sparsity.
_base_ = ['./deeplabv3plus_resnet50_cityscapes.py', '../../_base_/tickets/simclr_90.py']

model = dict(data_preprocessor=dict(mean={{_base_.pixel_mean}}, std={{_base_.pixel_std}}))
