# What SimCLR leaves behind: google-research's ResNet-50 as converted for torch, and the pixels that
# it has seen: R, G, B from 0 to 1, without mean and deviation.
# LTH_WEIGHTS names the folder of weights.
pretrained_weights = '{{$LTH_WEIGHTS:weights}}/resnet50-1x.pth'
pixel_mean = [0.0, 0.0, 0.0]
pixel_std = [255.0, 255.0, 255.0]
