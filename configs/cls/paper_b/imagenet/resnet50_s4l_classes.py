# Paper B, Fig. 5b: S4L with the labels of 10 % of ImageNet's classes.
_base_ = './resnet50_s4l_images.py'

record = dict(task='ImageNet S4L, 10 % of classes')
train_dataloader = dict(dataset=dict(images=None, classes=0.1))
