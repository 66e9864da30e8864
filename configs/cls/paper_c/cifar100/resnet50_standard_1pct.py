# 1 % of CIFAR-100's training pictures.
_base_ = './resnet50_standard_10pct.py'
record = dict(task='CIFAR-100, 1 %')

train_dataloader = dict(dataset=dict(images=0.01))
