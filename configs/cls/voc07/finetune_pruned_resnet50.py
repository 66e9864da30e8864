# Paper B, Fig. 2, pruned during pre-training: the mask of a level of the pre-training's chain, and the
# weights that it was trained to under that mask. Both are named:
#   lth train configs/cls/voc07/finetune_pruned_resnet50.py --cfg-options \
#       ticket.path=RUN/level_05/ticket.safetensors ticket.weights=RUN/level_05/epoch_90.pth
_base_ = './finetune_resnet50.py'

model = dict(backbone=dict(init_cfg=None))
ticket = dict(
    path='{{$LTH_TICKETS:tickets}}/resnet50_rotnet_level10.safetensors',
    weights='{{$LTH_WEIGHTS:weights}}/resnet50_rotnet_level10.pth')
