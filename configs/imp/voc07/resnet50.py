# Paper B, Fig. 2, pruned during transfer: every round fine-tunes on VOC 2007 and removes 20 % of what
# is left of all layers but the last. What the paper resets the survivors to here is not in it; taken
# are the dense pre-trained weights that every round of the transfer starts from:
#   lth train configs/imp/voc07/resnet50.py \
#       --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = '../../cls/voc07/finetune_resnet50.py'

imp = dict(preset='paper-b', rewind='pretrained', rewind_at=None)
train_cfg = dict(val_interval=90)
