# (m_T, θ0) on CIFAR-10: rewinding to random weights.
_base_ = '../../cls/cifar10/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-lt')
