# ResNet-50 from adversarial training on ImageNet, at level 10: 89.26 % of the weights pruned.
# Inherit from this beside any config whose backbone is a ResNet-50. LTH_TICKETS names the folder.
_base_ = './robust.py'

__import__('lth_core.openmmlab')  # registers the runner, also from OpenMMLab's own tools
runner_type = 'LTHRunner'
ticket = dict(path='{{$LTH_TICKETS:tickets}}/resnet50_robust_level10.safetensors')
