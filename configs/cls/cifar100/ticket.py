# (m_P, θ_P) on CIFAR-100, Fig. 3 of paper A; any other ticket with --cfg-options ticket.path=FILE.
_base_ = ['./resnet50.py', '../../_base_/tickets/imagenet_90.py']

ticket = dict(partial=True)  # conv1 is another one here, and stays random
