# How ImageNet is read, with labels or as views. Who inherits gives the data sets their pipelines and
# the loaders their batches. LTH_DATA_ROOT names the folder that holds imagenet/train and imagenet/val.
data_root = '{{$LTH_DATA_ROOT:data}}/imagenet'

train_dataloader = dict(
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='train',
        data_prefix='train'))
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='val',
        data_prefix='val'))
test_dataloader = val_dataloader
