# (m_T, θ0) on Fashion-MNIST: rewinding to random weights.
_base_ = '../../cls/fashion_mnist/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-lt')
