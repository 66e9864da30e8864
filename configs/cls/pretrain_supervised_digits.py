_base_ = './digits_resnet18.py'

train_dataloader = dict(
    dataset=dict(pipeline=[dict(type='RandomDigitView'), dict(type='PackInputs')]))
train_cfg = dict(max_epochs=30)
