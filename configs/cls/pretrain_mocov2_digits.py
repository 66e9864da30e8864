_base_ = [
    '../_base_/models/mocov2_resnet18_w16.py',
    '../_base_/datasets/digits_two_views.py',
    '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py',
]

default_scope = 'mmpretrain'
custom_imports = dict(imports=['lth_cls'], allow_failed_imports=False)

train_cfg = dict(max_epochs=30)
# There are no labels to validate with.
val_cfg = None
test_cfg = None
