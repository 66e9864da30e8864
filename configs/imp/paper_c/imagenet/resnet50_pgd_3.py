# Paper C, adversarial pre-training (main_adv.py): rounds on examples of PGD with 3 steps alone. The
# paper's robust weights were not released; these are Salman et al.'s (2020) of the same radius, 8/255.
_base_ = ['./resnet50_standard.py', '../../../_base_/adversarial/pgd_3.py']
record = dict(task='ImageNet labels, PGD-3')

weights = '{{$LTH_WEIGHTS:weights}}/resnet50_linf_eps8.0.ckpt'
model = dict(
    backbone=dict(init_cfg=dict(checkpoint=weights)),
    head=dict(init_cfg=dict(checkpoint=weights)))
