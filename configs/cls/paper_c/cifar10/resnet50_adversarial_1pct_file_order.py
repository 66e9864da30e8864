# As paper C's code takes them: the first 450 pictures of the file, whatever their classes.
_base_ = './resnet50_adversarial_1pct.py'
record = dict(task='CIFAR-10, 1 % in file order, adversarial')

train_dataloader = dict(dataset=dict(order='file'))
