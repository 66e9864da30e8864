# Tickets found on Cityscapes segmentation itself: (m_T, θ_P) of paper A. Each round starts from the same
# pre-trained backbone and the same random rest.
_base_ = '../../../seg/cityscapes/dense_moco.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a')
