# (m_T, θ_P) on CIFAR-10: rewinding to pre-trained weights. LTH_WEIGHTS names their folder.
_base_ = '../../cls/cifar10/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-pt-trans')

model = dict(backbone=dict(init_cfg=dict(
    type='PretrainedBackbone',
    checkpoint='{{$LTH_WEIGHTS:weights}}/resnet50-0676ba61.pth',
    leave=['conv1.weight'])))
