# Paper B, Random Reinit: survivors are reset to fresh random weights, others in each round.
_base_ = '../../../cls/paper_b/imagenet/resnet50_labels.py'

imp = dict(preset='paper-b-reinit')
