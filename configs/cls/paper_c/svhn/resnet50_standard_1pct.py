# 1 % of SVHN's training pictures.
_base_ = './resnet50_standard_10pct.py'
record = dict(task='SVHN, 1 %')

train_dataloader = dict(dataset=dict(images=0.01))
