# CIFAR-10 in 224 pixels (paper C, released code): the same split as paper A's, every picture of it trains
# in each epoch. Statistics are CIFAR-10's own, whatever network is transferred.
_base_ = ['./cifar10.py', './pictures_224.py']

data_preprocessor = dict(std=[255 * value for value in (0.2470, 0.2435, 0.2616)])  # each pixel's

train_dataloader = _base_.train_loader_224
val_dataloader = _base_.test_loader_224
test_dataloader = _base_.test_loader_224
