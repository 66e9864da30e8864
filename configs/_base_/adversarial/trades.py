# TRADES (Zhang et al. 2019): the clean loss, and 6 times how far predictions under PGD of 10 steps
# diverge from the clean ones. Batch norms are in evaluation mode during the attack, as theirs.
# Inherit from this beside any mmpretrain classifier's config, and beside a ticket base.
__import__('lth_cls')  # brings the key, also from mmpretrain's own tools
adversarial = dict(attack=dict(preset='pgd-10'), loss='trades', beta=6.0, bn_mode='eval')
