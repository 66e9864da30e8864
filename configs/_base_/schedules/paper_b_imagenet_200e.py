# Paper B, supplement 6.4: with one label in ten, 200 epochs and a warm-up over the first five. Where a
# warm-up starts is not said; here close to nothing.
_base_ = './paper_b_imagenet.py'

train_cfg = dict(max_epochs=200)
param_scheduler = [
    dict(type='LinearLR', by_epoch=True, start_factor=1e-4, begin=0, end=5,
         convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[140, 160, 180], gamma=0.1),
]
