# Exemplar: two drawings of one digit are nearer to each other than to drawings of others.
_base_ = '../../pretrain_simclr_digits.py'

model = dict(
    type='Exemplar',
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(_delete_=True, type='TripletMarginHead', in_channels=128, out_channels=64))
train_dataloader = dict(batch_size=50, dataset=dict(classes=('3', '4', '6', '7')))
train_cfg = dict(max_epochs=10)
