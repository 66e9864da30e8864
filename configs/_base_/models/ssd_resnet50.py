# SSD300, as mmdet has it, on a ResNet-50 in place of VGG-16. C3 and C5 stand where VGG's conv4 and
# fc7 do, at 38 and 19 cells: the last stage is dilated, so that it is in use and keeps 19.
_base_ = 'mmdet::_base_/models/ssd300.py'

custom_imports = dict(imports=['lth_det'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        out_indices=(1, 3),
        frozen_stages=-1,
        norm_eval=False,
        style='pytorch'),
    neck=dict(in_channels=(512, 2048), out_channels=(512, 2048, 512, 256, 256, 256)),
    bbox_head=dict(
        type='PredictingSSDHead',
        num_classes=20,
        in_channels=(512, 2048, 512, 256, 256, 256),
        anchor_generator=dict(basesize_ratio_range=(0.2, 0.9))))
