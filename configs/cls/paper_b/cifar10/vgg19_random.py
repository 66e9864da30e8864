# Paper B, Figs. 3 and 8, Random on CIFAR-10: as many weights at random, among those that are not zero
# in the trained dense network, from random weights. LTH_WEIGHTS names the folder of its checkpoint:
# level 0's of the rounds on labels.
_base_ = './vgg19_reinit.py'

ticket = dict(variant=dict(
    type='random', among='{{$LTH_WEIGHTS:weights}}/vgg19_cifar10_labels.pth'))
