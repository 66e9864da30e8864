# One round of SimCLR at another temperature (paper A, Table 2), from the ticket at 67.23 %:
#   --cfg-options model.head.temperature=0.1        (0.1 0.2 0.5 1 2 10 20)
# docs/imp-configs.md has the whole sweep. LTH_TICKETS names the folder of tickets.
_base_ = './simclr_resnet50_imagenet.py'
imp = None
ticket = dict(path='{{$LTH_TICKETS:tickets}}/resnet50_simclr_level05.safetensors')
