# Fast adversarial training, against one step from a random start (Wong et al. 2020).
# Inherit from this beside any mmpretrain classifier's config, and beside a ticket base.
__import__('lth_cls')  # brings the key, also from mmpretrain's own tools
adversarial = dict(attack=dict(preset='fast'))
