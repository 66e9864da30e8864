# The study's downstream task: digits that pre-training has not seen, with few labels.
_base_ = '../digits_resnet18.py'

classes = ('5', '6', '7', '8', '9')
model = dict(head=dict(num_classes=5))
data_preprocessor = dict(num_classes=5)
train_dataloader = dict(batch_size=25, dataset=dict(classes=classes, per_class=10))
val_dataloader = dict(dataset=dict(classes=classes))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=60)
