# (m_P, θ_P) on VisDA2017, Fig. 4 of paper A; any other ticket with --cfg-options ticket.path=FILE.
_base_ = ['./resnet50.py', '../../_base_/tickets/imagenet_90.py']
