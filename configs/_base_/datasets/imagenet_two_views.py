# Two views of every image of ImageNet: what SimCLR and MoCo v2 have in common. Who inherits sets the
# pixels and the views, and gives the pipeline to the loaders' data sets, validation's too: do two
# views, made as in training, find each other?
_base_ = './imagenet_loaders.py'

# 256 images over all processes, whatever their number (torchrun sets WORLD_SIZE).
assert 256 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 256 cannot be dealt out evenly'
batch_size = 256 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(batch_size=batch_size, drop_last=True)
val_dataloader = dict(batch_size=batch_size)
test_dataloader = val_dataloader

val_evaluator = dict(type='RetrievalAccuracy')
test_evaluator = val_evaluator
val_cfg = dict(type='TwoViewValLoop')
test_cfg = dict(type='TwoViewTestLoop')
