# Paper B, Winning Tickets: survivors are reset to the weights after one epoch.
_base_ = '../../../cls/paper_b/cifar10/vgg19_labels.py'

imp = dict(preset='paper-b-cifar10')
