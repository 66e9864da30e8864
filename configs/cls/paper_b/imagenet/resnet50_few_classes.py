# Paper B, Fig. 5b: labels of 10 % of ImageNet's classes, with all of their images; nothing else is
# seen. Labels keep their numbers, so that the head still has 1,000 outputs.
_base_ = './resnet50_few_images.py'

record = dict(task='ImageNet labels of 10 % of classes')
optim_wrapper = dict(optimizer=dict(lr=0.3, weight_decay=3e-4))
train_dataloader = dict(dataset=dict(images=None, classes=0.1))
