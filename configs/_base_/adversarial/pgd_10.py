# Adversarial training against PGD of 10 steps: paper C's on CIFAR-10, CIFAR-100 and SVHN.
# Inherit from this beside any mmpretrain classifier's config, and beside a ticket base.
__import__('lth_cls')  # brings the key, also from mmpretrain's own tools
adversarial = dict(attack=dict(preset='pgd-10'))
