# NPID: every digit is a class of its own.
_base_ = '../../pretrain_simclr_digits.py'

model = dict(
    type='NPID',
    samples=543,
    channels=64,
    negatives=256,
    neck=dict(
        _delete_=True, type='LinearNeck', in_channels=128, out_channels=64, gap_dim=2),
    head=dict(temperature=0.07))
train_dataloader = dict(
    batch_size=50,
    dataset=dict(
        classes=('3', '4', '6', '7'),
        pipeline=[dict(type='RandomDigitView'), dict(type='PackInputs')]))
train_cfg = dict(max_epochs=10)
