# How ImageNet is read, with labels or as two views. Who inherits gives the data sets their pipelines.
# LTH_DATA_ROOT names the folder that holds imagenet/train and imagenet/val.
data_root = '{{$LTH_DATA_ROOT:data}}/imagenet'

# 256 images over all processes, whatever their number (torchrun sets WORLD_SIZE).
assert 256 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 256 cannot be dealt out evenly'
batch_size = 256 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(
    batch_size=batch_size,
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
    batch_size=batch_size,
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
