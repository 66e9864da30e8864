# Standard pre-training, on half of the digits.
_base_ = '../pretrain_supervised_zeros_to_fours.py'

# Redrawn once and for all, as in training: an attack that a white digit on black withstands may hide
# one on coloured paper.
fixed = [dict(type='RandomDigitView', fixed=True), dict(type='PackInputs')]
val_dataloader = dict(dataset=dict(pipeline=fixed))
test_dataloader = dict(dataset=dict(pipeline=fixed))
train_cfg = dict(max_epochs=60)
val_cfg = dict(type='RobustValLoop', attacks={'pgd-20': 'pgd-20'})
