# What MoCo v2 leaves behind: the ResNet-50 of 800 epochs, and the pixels that it has seen.
# LTH_WEIGHTS names the folder of weights.
pretrained_weights = '{{$LTH_WEIGHTS:weights}}/moco_v2_800ep_pretrain.pth.tar'
pixel_mean = [123.675, 116.28, 103.53]  # R, G, B out of 255
pixel_std = [58.395, 57.12, 57.375]
