# ResNet-50 as Salman et al. (2020) trained it on ImageNet against L-inf attacks of 8/255, without its
# last layer. Paper C's own robust weights were not released. Another start, robust or not:
# --cfg-options model.backbone.init_cfg.checkpoint=FILE. LTH_WEIGHTS names the folder.
_base_ = './imagenet_resnet50.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint='{{$LTH_WEIGHTS:weights}}/resnet50_linf_eps8.0.ckpt')),
    head=dict(init_cfg=None))  # as torch itself begins a linear layer, and the paper's code
