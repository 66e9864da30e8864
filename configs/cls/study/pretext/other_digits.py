# Another task for features of the digits 3, 4, 6 and 7: to tell the six others, from few labels.
_base_ = '../../digits_resnet18.py'

classes = ('0', '1', '2', '5', '8', '9')
model = dict(head=dict(num_classes=6))
data_preprocessor = dict(num_classes=6)
train_dataloader = dict(
    batch_size=50,
    dataset=dict(
        classes=classes,
        per_class=40,
        pipeline=[dict(type='RandomDigitView'), dict(type='PackInputs')]))
val_dataloader = dict(
    dataset=dict(
        classes=classes,
        # Redrawn once and for all: every training is tested on the same pictures.
        pipeline=[dict(type='RandomDigitView', fixed=True), dict(type='PackInputs')]))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=10)
