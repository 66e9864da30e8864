# Pre-training on labels, on half of the digits.
_base_ = '../pretrain_supervised_digits.py'

classes = ('0', '1', '2', '3', '4')
model = dict(head=dict(num_classes=5))
data_preprocessor = dict(num_classes=5)
train_dataloader = dict(dataset=dict(classes=classes))
val_dataloader = dict(dataset=dict(classes=classes))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=40)
