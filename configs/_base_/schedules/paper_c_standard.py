# Paper C, standard transfer (script/train_downstream/std.sh): 150 epochs at batch size 64, SGD at rate
# 1e-3, a tenth from epochs 50 and 100 on. What is reported is test accuracy at the best validation.
_base_ = './paper_a_cifar.py'

train_cfg = dict(max_epochs=150)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=5e-4))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[50, 100], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=64)
randomness = dict(seed=1)
