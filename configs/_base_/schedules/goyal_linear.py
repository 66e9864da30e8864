# A linear classifier on frozen features, as Goyal et al. train theirs of ResNet-50 (ICCV 2019;
# facebookresearch/fair_self_supervision_benchmark, resnet50_*_finetune_linear.yaml, on pool5): batch
# norm without scale and shift, then a linear layer; 140,000 iterations at batch size 256, Nesterov's SGD
# at rate 0.01, a tenth from 40,000, 80,000 and 120,000 on, weight decay 1e-4. Paper B says that it
# follows them, and gives no numbers of its own.
_base_ = '../features_runtime.py'

train_cfg = dict(by_epoch=False, max_iters=140_000, val_interval=5_000)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True))
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=False, milestones=[40_000, 80_000, 120_000], gamma=0.1)
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5_000))
log_processor = dict(by_epoch=False)
custom_hooks = [dict(type='ChannelsLastHook'), dict(type='FrozenBackboneHook')]
