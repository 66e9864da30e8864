# SSD300 on VOC from random weights: what its tickets and dense twins have in common.
_base_ = [
    '../../_base_/models/ssd_resnet50.py',
    '../../_base_/datasets/voc0712_ssd300.py',
    '../../_base_/schedules/voc_ssd_120k.py',
]
