# Adversarial pre-training with PGD, three steps as in paper C's on ImageNet.
_base_ = ['./pretrain_standard.py', '../../../_base_/adversarial/pgd_3.py']
