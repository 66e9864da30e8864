# Small pictures made as large as ImageNet's for a network with its stem (paper C, released code).
# Pillow resizes as torchvision does. Beside a data set's own file, which it has to be told.
processes = int('{{$WORLD_SIZE:1}}')
assert 64 % processes == 0, 'batches of 64 and 128 cannot be dealt out evenly'

pipeline_224 = [
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bilinear'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline_224 = [
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bilinear'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_loader_224 = dict(
    batch_size=64 // processes, drop_last=False, dataset=dict(pipeline=pipeline_224))
test_loader_224 = dict(batch_size=64 // processes, dataset=dict(pipeline=test_pipeline_224))
