# 1 % of SVHN's training pictures.
_base_ = './resnet50_adversarial_10pct.py'
record = dict(task='SVHN, 1 %, adversarial')

train_dataloader = dict(dataset=dict(images=0.01))
