# Tickets found on COCO detection itself: (m_T, θ_P) of paper A. Each round starts from the same
# pre-trained backbone and the same random rest.
_base_ = '../../../det/coco/dense_imagenet.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a')
