# Paper C, fast adversarial pre-training. A guess: neither script nor weights were released. Rounds are
# those of main_adv.py with the one step of Wong et al. (2020), 10/255 from a random start within 8/255;
# weights are theirs of radius 4/255, the largest that they published.
_base_ = ['./resnet50_standard.py', '../../../_base_/adversarial/fast.py']
record = dict(task='ImageNet labels, fast adversarial')

weights = '{{$LTH_WEIGHTS:weights}}/imagenet_model_weights_4px.pth.tar'
model = dict(
    backbone=dict(init_cfg=dict(checkpoint=weights)),
    head=dict(init_cfg=dict(checkpoint=weights)))
