# As the README of paper A's code trains it: at batch size 256.
_base_ = './resnet50.py'

train_dataloader = dict(batch_size=256)
val_dataloader = dict(batch_size=256)
test_dataloader = dict(batch_size=256)
