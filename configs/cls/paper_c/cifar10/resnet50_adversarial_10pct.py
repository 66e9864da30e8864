# 10 % of CIFAR-10's training pictures, of each class as many, drawn with a seed of their own.
_base_ = './resnet50_adversarial.py'
record = dict(task='CIFAR-10, 10 %, adversarial')

train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='Portion', images=0.1, dataset=_base_.train_dataloader.dataset))
