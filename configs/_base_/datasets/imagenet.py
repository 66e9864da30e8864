# ImageNet with labels, in batches of paper A's.
_base_ = './imagenet_labels.py'

# 256 images over all processes, whatever their number (torchrun sets WORLD_SIZE).
assert 256 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 256 cannot be dealt out evenly'
batch_size = 256 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(batch_size=batch_size)
val_dataloader = dict(batch_size=batch_size)
test_dataloader = val_dataloader
