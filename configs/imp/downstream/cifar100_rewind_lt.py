# (m_T, θ5%) on CIFAR-100: rewinding to 5 % of the dense training (its code: imp.rewind_at=9ep).
_base_ = '../../cls/cifar100/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-early')
