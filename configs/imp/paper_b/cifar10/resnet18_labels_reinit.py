# Paper B, Random Reinit: survivors are reset to fresh random weights, others in each round.
_base_ = '../../../cls/paper_b/cifar10/resnet18_labels.py'

imp = dict(preset='paper-b-reinit')
