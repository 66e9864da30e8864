# 1 % of CIFAR-100's training pictures.
_base_ = './resnet50_adversarial_10pct.py'
record = dict(task='CIFAR-100, 1 %, adversarial')

train_dataloader = dict(dataset=dict(images=0.01))
