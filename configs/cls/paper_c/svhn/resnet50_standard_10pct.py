# 10 % of SVHN's training pictures, of each class as many, drawn with a seed of their own.
# A guess: the paper's code has little data in adversarial training alone.
_base_ = './resnet50_standard.py'
record = dict(task='SVHN, 10 %')

train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='Portion', images=0.1, dataset=_base_.train_dataloader.dataset))
