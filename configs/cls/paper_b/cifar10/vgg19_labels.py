# Paper B, table of recipes: CIFAR-10's labels, VGG-19. What masks are trained on in the end, too.
_base_ = [
    '../../../_base_/models/cifar_vgg19.py',
    '../../../_base_/datasets/cifar10_paper_b.py',
    '../../../_base_/schedules/paper_b_cifar.py',
]
record = dict(task='CIFAR-10 labels')
