# Fast adversarial pre-training: one step from a random start.
_base_ = './pretrain_standard.py'

adversarial = dict(attack='fast')
