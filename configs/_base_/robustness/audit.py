# Test: is robustness against PGD real, or are gradients masked? On the first 1,000 images.
# A transfer attack takes another model's checkpoint: robustness.test.transfer=FILE.
# Inherit from this beside any mmpretrain classifier's config.
__import__('lth_cls')  # brings the key, also from mmpretrain's own tools
robustness = dict(test=dict(type='RobustAuditLoop', first=1000))
