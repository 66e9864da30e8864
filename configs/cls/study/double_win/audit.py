# Is robustness on the downstream task an artefact of the attack? The same attack with more steps and
# restarts, one that needs no gradient, and perturbations made against another network.
#   lth test lth_cls::cls/study/double_win/audit.py CHECKPOINT \
#     --cfg-options test_cfg.attacks.transferred.checkpoint=OTHER
_base_ = './transfer_adversarial.py'

test_cfg = dict(
    type='RobustTestLoop',
    attacks={
        'pgd-20': 'pgd-20',
        'pgd-100': dict(preset='pgd-20', steps=100, restarts=3),
        # The name that Square has with fewer than its 5,000 queries.
        'square': dict(type='Square', queries=1000),
        'transferred': dict(type='Transfer', checkpoint=None),
    })
