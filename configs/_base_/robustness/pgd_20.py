# Validation and test also under PGD of 20 steps, eps 8/255: paper C's robust accuracy.
# Inherit from this beside any mmpretrain classifier's config.
__import__('lth_cls')  # brings the key, also from mmpretrain's own tools
robustness = dict(
    val=dict(attacks={'pgd-20': 'pgd-20'}), test=dict(attacks={'pgd-20': 'pgd-20'}))
