# As paper A's code trains it in rounds; transferred tickets it trains at train_dataloader.batch_size=128.
_base_ = [
    '../../_base_/models/cifar_resnet50.py',
    '../../_base_/datasets/fashion_mnist.py',
    '../../_base_/schedules/paper_a_cifar_code.py',
]

model = dict(backbone=dict(in_channels=1))
