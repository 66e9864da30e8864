# Paper A, table 1, VisDA2017: 20 epochs at batch size 128, SGD at rate 1e-3, a tenth from epoch 10 on.
_base_ = './paper_a_cifar.py'

train_cfg = dict(max_epochs=20)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=5e-4))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[10], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=128)
