# SVHN in 224 pixels (paper C, released code): the same split as paper A's, every picture of it trains
# in each epoch. Digits are flipped, too. Statistics are SVHN's own, whatever network is transferred.
_base_ = ['./svhn.py', './pictures_224.py']

train_dataloader = _base_.train_loader_224
val_dataloader = _base_.test_loader_224
test_dataloader = _base_.test_loader_224
