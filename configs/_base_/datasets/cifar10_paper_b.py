# CIFAR-10 as paper B has it (supplement 6.4): flips, and 32 pixels of the picture padded by 2; 512
# pictures over all processes (torchrun sets WORLD_SIZE). All 50,000 training pictures train, and the
# official test set is what is measured: the paper holds none out.
_base_ = './cifar10.py'

assert 512 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 512 cannot be dealt out evenly'
batch_size = 512 // int('{{$WORLD_SIZE:1}}')

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=batch_size,
    drop_last=False,
    dataset=dict(val_last=0, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(_delete_=True, **_base_.test_dataloader.dataset))
test_dataloader = dict(batch_size=batch_size)
val_cfg = dict()
test_cfg = dict()
