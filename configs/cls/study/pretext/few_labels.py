# One in ten of the labelled images (paper B, Fig. 5: 10 % Lab), for as many epochs as make the same
# number of steps.
_base_ = './labels.py'

train_dataloader = dict(
    batch_size=25,
    dataset=dict(
        _delete_=True,
        type='Portion',
        images=0.1,
        dataset=dict(
            type='DigitsDataset',
            split='train',
            classes={{_base_.classes}},
            pipeline=[dict(type='RandomDigitView'), dict(type='PackInputs')])))
train_cfg = dict(max_epochs=50)
