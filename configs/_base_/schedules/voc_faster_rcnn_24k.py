# Paper A, appendix, Faster R-CNN: 24,000 iterations at batch size 4, rate 0.005 falling as a
# polynomial of power 0.9.
_base_ = './voc_det_50e.py'

train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=24000, val_interval=4000)
optim_wrapper = dict(optimizer=dict(lr=0.005, weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, end=24000)]
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=4000))
log_processor = dict(by_epoch=False)
