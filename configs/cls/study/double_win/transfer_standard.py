# The downstream task, with all labelled digits or a portion of them, and standard training.
_base_ = '../transfer_fives_to_nines.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='Portion',
        images=1.0,
        dataset=dict(
            type='DigitsDataset',
            split='train',
            classes={{_base_.classes}},
            pipeline=[dict(type='RandomDigitView'), dict(type='PackInputs')])))
# With a portion, as many more epochs as make the same number of updates.
train_cfg = dict(max_epochs=10)
val_cfg = dict(type='RobustValLoop', attacks={'pgd-20': 'pgd-20'})
