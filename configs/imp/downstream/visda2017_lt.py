# (m_T, θ0) on VisDA2017: rewinding to random weights.
_base_ = '../../cls/visda2017/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-lt')
