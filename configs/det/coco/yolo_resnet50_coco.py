# The one-stage detector on COCO from random weights: what its tickets and dense twins have in common.
_base_ = [
    '../../_base_/models/yolo_resnet50_spp_pan.py',
    '../../_base_/datasets/coco_416.py',
    '../../_base_/schedules/voc_det_50e.py',
]

model = dict(bbox_head=dict(num_classes=80))
