_base_ = [
    '../_base_/models/classifier_resnet18_w16.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py',
]

default_scope = 'mmpretrain'
custom_imports = dict(imports=['lth_cls'], allow_failed_imports=False)

train_cfg = dict(max_epochs=20)
