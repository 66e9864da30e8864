# Labels: the pruning task that the others are compared with, and what all masks are trained on in
# the end. Digits whose turns can be told: 3, 4, 6 and 7. Turned by 180 degrees 0, 1 and 8 look the
# same, 2 and 5 nearly so, and 9 is a 6.
_base_ = '../../pretrain_supervised_digits.py'

classes = ('3', '4', '6', '7')
model = dict(head=dict(num_classes=4))
data_preprocessor = dict(num_classes=4)
train_dataloader = dict(
    batch_size=50,
    dataset=dict(
        classes=classes,
        pipeline=[dict(type='RandomDigitView'), dict(type='PackInputs')]))
val_dataloader = dict(
    dataset=dict(
        classes=classes,
        # Redrawn once and for all: every training is tested on the same pictures.
        pipeline=[dict(type='RandomDigitView', fixed=True), dict(type='PackInputs')]))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=10)
