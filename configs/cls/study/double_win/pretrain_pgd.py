# Adversarial pre-training with PGD, three steps as in paper C's on ImageNet.
_base_ = './pretrain_standard.py'

adversarial = dict(attack='pgd-3')
