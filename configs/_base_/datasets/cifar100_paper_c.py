# CIFAR-100 in 224 pixels (paper C, released code): the same split as paper A's, every picture of it trains
# in each epoch. Statistics are CIFAR-100's own, whatever network is transferred.
_base_ = ['./cifar100.py', './pictures_224.py']

data_preprocessor = dict(
    mean=[255 * value for value in (0.5071, 0.4867, 0.4408)],
    std=[255 * value for value in (0.2675, 0.2565, 0.2761)])  # each pixel's

train_dataloader = _base_.train_loader_224
val_dataloader = _base_.test_loader_224
test_dataloader = _base_.test_loader_224
