# Paper B, table of recipes: RotNet on CIFAR-10, VGG-19. The batch is counted in pictures.
_base_ = [
    '../../../_base_/models/cifar_vgg19.py',
    '../../../_base_/datasets/cifar10_paper_b.py',
    '../../../_base_/schedules/paper_b_cifar.py',
]
record = dict(task='CIFAR-10 RotNet')

model = dict(head=dict(num_classes=4))
data_preprocessor = dict(type='RotationPreprocessor', num_classes=4)
val_evaluator = dict(_delete_=True, type='RotationAccuracy')
test_evaluator = val_evaluator
