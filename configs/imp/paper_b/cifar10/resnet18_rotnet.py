# Paper B, Winning Tickets: survivors are reset to the weights after one epoch.
_base_ = '../../../cls/paper_b/cifar10/resnet18_rotnet.py'

imp = dict(preset='paper-b-cifar10')
