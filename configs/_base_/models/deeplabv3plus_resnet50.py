# DeepLabv3+ on a ResNet-50 with torchvision's stem, output stride 16 (paper A, section A.3).
_base_ = 'mmseg::_base_/models/deeplabv3plus_r50-d8.py'

custom_imports = dict(imports=['lth_seg'], allow_failed_imports=False)
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(513, 513)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        contract_dilation=True,  # as torchvision's replace_stride_with_dilation
        norm_cfg=dict(type='BN', requires_grad=True, momentum=0.01),
        norm_eval=False,
        style='pytorch'),
    decode_head=dict(
        num_classes=21,
        channels=256,
        dilations=(1, 6, 12, 18),
        norm_cfg=norm_cfg,
        loss_decode=dict(avg_non_ignore=True)),  # the mean of labelled pixels, as torch takes it
    auxiliary_head=None)
