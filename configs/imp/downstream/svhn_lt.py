# (m_T, θ0) on SVHN: rewinding to random weights.
_base_ = '../../cls/svhn/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-lt')
