# Two views of every image of ImageNet: what SimCLR and MoCo v2 have in common. Who inherits sets the
# pixels and the views, and gives the pipeline to the loaders' data sets, validation's too: do two
# views, made as in training, find each other?
_base_ = './imagenet_loaders.py'

train_dataloader = dict(drop_last=True)

val_evaluator = dict(type='RetrievalAccuracy')
test_evaluator = val_evaluator
val_cfg = dict(type='TwoViewValLoop')
test_cfg = dict(type='TwoViewTestLoop')
