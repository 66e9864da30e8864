_base_ = '../pretrain_mocov2_digits.py'

# Half of the digits; the others are the study's downstream task.
train_dataloader = dict(dataset=dict(classes=('0', '1', '2', '3', '4')))
train_cfg = dict(max_epochs=40)
