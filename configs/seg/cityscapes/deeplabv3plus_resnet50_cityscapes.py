# DeepLabv3+ on Cityscapes from random weights: what its tickets and dense twins have in common.
_base_ = [
    '../../_base_/models/deeplabv3plus_resnet50.py',
    '../../_base_/datasets/cityscapes_513.py',
    '../../_base_/schedules/voc_seg_30k.py',
]

model = dict(decode_head=dict(num_classes=19))
