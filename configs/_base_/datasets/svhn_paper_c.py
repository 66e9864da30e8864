# SVHN in 224 pixels (paper C, released code): the same split as paper A's, every picture of it trains
# in each epoch. Digits are flipped, too. Statistics are SVHN's own, whatever network is transferred.
_base_ = ['./svhn.py', './pictures_224.py']

train_dataloader = dict(
    batch_size=64 // _base_.processes,
    drop_last=False,
    dataset=dict(pipeline=_base_.pipeline_224))
val_dataloader = dict(
    batch_size=64 // _base_.processes, dataset=dict(pipeline=_base_.test_pipeline_224))
test_dataloader = dict(
    batch_size=64 // _base_.processes, dataset=dict(pipeline=_base_.test_pipeline_224))
