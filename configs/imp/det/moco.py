# (m_T, θ_P) of paper A, Fig. 5: tickets found on VOC detection itself. Each round starts from the
# same pre-trained backbone and the same random rest.
_base_ = '../../det/dense_moco.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a')
