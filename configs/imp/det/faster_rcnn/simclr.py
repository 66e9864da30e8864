# Tickets found on VOC detection with Faster R-CNN itself: (m_T, θ_P) of paper A. Each round starts from the same
# pre-trained backbone and the same random rest.
_base_ = '../../../det/faster_rcnn/dense_simclr.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a')
