# What paper A's code does beyond table 1: a linear warm-up over the first epoch.
_base_ = './paper_a_cifar.py'

param_scheduler = [
    dict(type='LinearLR', by_epoch=True, start_factor=1e-4, begin=0, end=1,
         convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[91, 136], gamma=0.1),
]
