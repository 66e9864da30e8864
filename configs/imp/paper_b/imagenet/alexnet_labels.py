# Paper B, Winning Tickets: survivors are reset to the weights after 3 x 1.28 M pictures.
_base_ = '../../../cls/paper_b/imagenet/alexnet_labels.py'

imp = dict(preset='paper-b')
