# The study's downstream task: digits that pre-training has not seen, redrawn as in pre-training,
# with few labels and so short a training that the start makes a difference.
_base_ = '../digits_resnet18.py'

classes = ('5', '6', '7', '8', '9')
model = dict(head=dict(num_classes=5))
data_preprocessor = dict(num_classes=5)
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
train_cfg = dict(max_epochs=16)
