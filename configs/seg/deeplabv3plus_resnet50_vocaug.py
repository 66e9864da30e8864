# DeepLabv3+ on VOC 2012 with the augmented set, from random weights: what its tickets and dense twins have in common.
_base_ = [
    '../_base_/models/deeplabv3plus_resnet50.py',
    '../_base_/datasets/voc2012aug_513.py',
    '../_base_/schedules/voc_seg_30k.py',
]
