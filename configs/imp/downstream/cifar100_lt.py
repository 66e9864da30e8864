# (m_T, θ0) on CIFAR-100: rewinding to random weights.
_base_ = '../../cls/cifar100/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-lt')
