# On CIFAR-100, rewinding to the best epoch of the dense training from random weights.
_base_ = '../../cls/cifar100/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-pt')
