# Test also under PGD of 20 steps and AutoAttack's standard set, eps 8/255. AutoAttack takes some
# thousands of passes an image: robustness.test.first=1000 attacks the first 1,000 images alone.
# Inherit from this beside any mmpretrain classifier's config.
__import__('lth_cls')  # brings the key, also from mmpretrain's own tools
robustness = dict(
    test=dict(attacks={'pgd-20': 'pgd-20', 'autoattack': dict(type='AutoAttack')}))
