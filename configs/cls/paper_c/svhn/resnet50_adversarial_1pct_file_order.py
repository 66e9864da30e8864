# As paper C's code takes them: the first 682 pictures of the file, whatever their classes.
_base_ = './resnet50_adversarial_1pct.py'
record = dict(task='SVHN, 1 % in file order, adversarial')

train_dataloader = dict(dataset=dict(order='file'))
