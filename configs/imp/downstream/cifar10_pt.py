# On CIFAR-10, rewinding to the best epoch of the dense training from random weights.
_base_ = '../../cls/cifar10/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-pt')
