# Faster R-CNN on VOC from random weights: what its tickets and dense twins have in common.
_base_ = [
    '../../_base_/models/faster_rcnn_resnet50_fpn.py',
    '../../_base_/datasets/voc0712.py',
    '../../_base_/schedules/voc_faster_rcnn_24k.py',
]
