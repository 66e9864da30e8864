# Paper B: tickets of NPID, reset to the weights, and the memory, after 3 x 1.28 M pictures. As in the
# paper not beyond 90 %: ten rounds end at 89.26 %.
_base_ = '../../../cls/paper_b/imagenet/resnet50_npid.py'

imp = dict(preset='paper-b', rounds=10)
