# Paper A, table 1, CIFAR-10, CIFAR-100, SVHN and Fashion-MNIST: 182 epochs at batch size 256, SGD at
# rate 0.1, a tenth from epochs 91 and 136 on. What is reported is test accuracy at the epoch of best
# validation accuracy.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['lth_cls'], allow_failed_imports=False)

train_cfg = dict(by_epoch=True, max_epochs=182, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=2e-4))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[91, 136], gamma=0.1)]
auto_scale_lr = dict(enable=False, base_batch_size=256)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=1,
        save_best='accuracy/top1',
        rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'))
custom_hooks = [dict(type='TestAtBestValHook', metric='accuracy/top1')]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
# The paper gives the mean and spread of three runs: --cfg-options randomness.seed=1, then 2.
randomness = dict(seed=0)
