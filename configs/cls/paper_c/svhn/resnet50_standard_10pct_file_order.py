# As paper C's code takes them in adversarial training: the first 6,825 pictures of the file.
_base_ = './resnet50_standard_10pct.py'
record = dict(task='SVHN, 10 % in file order')

train_dataloader = dict(dataset=dict(order='file'))
