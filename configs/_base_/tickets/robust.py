# What adversarial training on ImageNet leaves behind: ResNet-50 of Salman et al. (2020) against L-inf
# attacks of 8/255, and the pixels that it has seen. LTH_WEIGHTS names the folder of weights.
pretrained_weights = '{{$LTH_WEIGHTS:weights}}/resnet50_linf_eps8.0.ckpt'
pixel_mean = [123.675, 116.28, 103.53]  # R, G, B out of 255
pixel_std = [58.395, 57.12, 57.375]
