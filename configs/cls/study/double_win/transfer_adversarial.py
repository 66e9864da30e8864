# The downstream task with adversarial training: PGD of three steps, where paper C has ten.
_base_ = './transfer_standard.py'

adversarial = dict(attack='pgd-3')
