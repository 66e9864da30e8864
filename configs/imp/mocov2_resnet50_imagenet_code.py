# As the released code: the first mask is taken of the weights as given, and momentum and the queue
# of negatives are carried over from level to level.
_base_ = './mocov2_resnet50_imagenet.py'
imp = dict(preset='paper-a-code-moco')
