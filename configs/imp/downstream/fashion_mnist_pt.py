# On Fashion-MNIST, rewinding to the best epoch of the dense training from random weights.
_base_ = '../../cls/fashion_mnist/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-pt')
