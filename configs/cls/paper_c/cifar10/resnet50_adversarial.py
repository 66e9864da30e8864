# Paper C, adversarial transfer to CIFAR-10: the dense network, from robust weights or any others.
_base_ = [
    '../../../_base_/models/resnet50_robust.py',
    '../../../_base_/datasets/cifar10_paper_c.py',
    '../../../_base_/schedules/paper_c_adversarial.py',
    '../../../_base_/adversarial/pgd_10.py',
]
record = dict(task='CIFAR-10, adversarial')
model = dict(head=dict(num_classes=10))

batch_size = 128 // _base_.processes
train_dataloader = dict(batch_size=batch_size)
val_dataloader = dict(batch_size=batch_size)
test_dataloader = dict(batch_size=batch_size)
