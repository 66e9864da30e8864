# As paper C's code takes them: the first 4,500 pictures of the file, whatever their classes.
_base_ = './resnet50_adversarial_10pct.py'
record = dict(task='CIFAR-10, 10 % in file order, adversarial')

train_dataloader = dict(dataset=dict(order='file'))
