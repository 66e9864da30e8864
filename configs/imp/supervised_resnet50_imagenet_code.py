# As the released code: the first mask is taken of the weights as given, level 0 is not trained,
# and of every level the best epoch is kept too.
_base_ = './supervised_resnet50_imagenet.py'
imp = dict(preset='paper-a-code')
train_cfg = dict(val_interval=1)
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1', rule='greater'))
