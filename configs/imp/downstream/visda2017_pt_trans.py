# (m_T, θ_P) on VisDA2017: rewinding to pre-trained weights. LTH_WEIGHTS names their folder.
_base_ = '../../cls/visda2017/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-pt-trans')

model = dict(backbone=dict(init_cfg=dict(
    type='PretrainedBackbone',
    checkpoint='{{$LTH_WEIGHTS:weights}}/resnet50-0676ba61.pth')))
