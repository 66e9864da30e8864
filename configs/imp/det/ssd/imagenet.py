# Tickets found on VOC detection with SSD itself: (m_T, θ_P) of paper A. Each round starts from the same
# pre-trained backbone and the same random rest.
_base_ = '../../../det/ssd/dense_imagenet.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a')
