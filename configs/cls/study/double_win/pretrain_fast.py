# Fast adversarial pre-training: one step from a random start.
_base_ = ['./pretrain_standard.py', '../../../_base_/adversarial/fast.py']
