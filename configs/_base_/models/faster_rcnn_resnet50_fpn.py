# Faster R-CNN with feature pyramids, as mmdet has it, on a ResNet-50 of which nothing is frozen:
# a ticket trains as a whole.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'

custom_imports = dict(imports=['lth_det'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,  # also its weights: where to start is said elsewhere
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_eval=False,
        style='pytorch'),
    roi_head=dict(bbox_head=dict(num_classes=20)))
