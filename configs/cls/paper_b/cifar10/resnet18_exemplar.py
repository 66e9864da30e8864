# Paper B, table of recipes: Exemplar on CIFAR-10, ResNet-18.
_base_ = [
    '../../../_base_/models/cifar_resnet18.py',
    '../../../_base_/datasets/cifar10_exemplar.py',
    '../../../_base_/schedules/paper_b_cifar.py',
]
record = dict(task='CIFAR-10 Exemplar')

model = dict(type='Exemplar', head=dict(_delete_=True, type='TripletMarginHead', in_channels=512))
train_cfg = dict(max_epochs=180)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[120], gamma=0.1)]
