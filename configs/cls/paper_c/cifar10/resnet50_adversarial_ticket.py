# The same from a ticket; any other one with --cfg-options ticket.path=FILE.
_base_ = ['./resnet50_adversarial.py', '../../../_base_/tickets/robust_90.py']

model = dict(backbone=dict(init_cfg=None))  # the ticket brings all of its weights
