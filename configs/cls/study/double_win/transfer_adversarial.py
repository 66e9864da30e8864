# The downstream task with adversarial training: PGD of three steps, where paper C has ten.
_base_ = ['./transfer_standard.py', '../../../_base_/adversarial/pgd_3.py']
