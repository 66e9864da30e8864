# As paper C's code takes them in adversarial training: the first 682 pictures of the file.
_base_ = './resnet50_standard_1pct.py'
record = dict(task='SVHN, 1 % in file order')

train_dataloader = dict(dataset=dict(order='file'))
