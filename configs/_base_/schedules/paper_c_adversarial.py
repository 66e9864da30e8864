# Paper C, adversarial transfer to CIFAR-10 and CIFAR-100 (script/train_downstream/adv_cifar.sh): 100
# epochs at batch size 128, SGD at rate 0.1, a tenth from epochs 50 and 75 on. From the 46th epoch on
# clean images and PGD with 20 steps are validated; the best epoch by each is tested with both.
_base_ = './paper_c_standard.py'

train_cfg = dict(max_epochs=100, val_begin=46)
val_cfg = dict(type='RobustValLoop', attacks={'pgd-20': 'pgd-20'})
test_cfg = dict(type='RobustTestLoop', attacks={'pgd-20': 'pgd-20'})
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[50, 75], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=128)

default_hooks = dict(checkpoint=dict(save_best=['accuracy/top1', 'accuracy/top1/pgd-20']))
custom_hooks = [dict(type='RobustBestHook')]
