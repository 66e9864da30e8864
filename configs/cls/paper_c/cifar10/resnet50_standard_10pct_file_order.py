# As paper C's code takes them in adversarial training: the first 4,500 pictures of the file.
_base_ = './resnet50_standard_10pct.py'
record = dict(task='CIFAR-10, 10 % in file order')

train_dataloader = dict(dataset=dict(order='file'))
