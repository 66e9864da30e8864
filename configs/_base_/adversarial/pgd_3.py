# Adversarial training against PGD of 3 steps: paper C's on ImageNet.
# Inherit from this beside any mmpretrain classifier's config, and beside a ticket base.
__import__('lth_cls')  # brings the key, also from mmpretrain's own tools
adversarial = dict(attack=dict(preset='pgd-3'))
