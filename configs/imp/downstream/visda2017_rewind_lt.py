# (m_T, θ5%) on VisDA2017: rewinding to 5 % of the dense training (its code: imp.rewind_at=9ep).
_base_ = '../../cls/visda2017/resnet50.py'

runner_type = 'LTHRunner'
imp = dict(preset='paper-a-early')
