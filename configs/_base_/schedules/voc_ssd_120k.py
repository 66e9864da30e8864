# Paper A, appendix, SSD: 120,000 iterations at batch size 32, rate 1e-3, a tenth from 80,000 and a
# hundredth from 110,000 on.
_base_ = './voc_det_50e.py'

train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=120000, val_interval=10000)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=5e-4))
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=False, milestones=[80000, 110000], gamma=0.1)
]
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=10000))
log_processor = dict(by_epoch=False)
