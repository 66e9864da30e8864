# Paper B, supplement 6.4, ImageNet: SGD with momentum 0.9, a tenth of the rate at each step. As for
# labels on ResNet-50; other runs change numbers.
_base_ = './paper_a_pretraining.py'

train_cfg = dict(max_epochs=90)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, milestones=[50, 65, 80], gamma=0.1),
]
