# Another task for features of the digits 3, 4, 6 and 7: to tell the six others, from few labels.
_base_ = '../transfer_fives_to_nines.py'

classes = ('0', '1', '2', '5', '8', '9')
model = dict(head=dict(num_classes=6))
data_preprocessor = dict(num_classes=6)
train_dataloader = dict(dataset=dict(classes=classes))
val_dataloader = dict(dataset=dict(classes=classes))
test_dataloader = dict(dataset=dict(classes=classes))
train_cfg = dict(max_epochs=10)
