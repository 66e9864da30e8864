# What ImageNet labels leave behind: torchvision's ResNet-50, and the pixels that it has seen.
# LTH_WEIGHTS names the folder of weights.
pretrained_weights = '{{$LTH_WEIGHTS:weights}}/resnet50-0676ba61.pth'
pixel_mean = [123.675, 116.28, 103.53]  # R, G, B out of 255
pixel_std = [58.395, 57.12, 57.375]
