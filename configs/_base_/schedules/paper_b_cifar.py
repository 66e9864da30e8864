# Paper B, supplement 6.4, CIFAR-10: 160 epochs of Adam, which its rates fit; the main text says SGD
# with momentum 0.9 (--cfg-options optim_wrapper.optimizer.type=SGD optim_wrapper.optimizer.momentum=0.9).
_base_ = './paper_a_pretraining.py'

train_cfg = dict(max_epochs=160)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='Adam', lr=1e-3, weight_decay=1e-4))
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, milestones=[80, 120], gamma=0.1),
]
