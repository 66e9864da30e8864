_base_ = [
    '../_base_/models/fcos_resnet18_w16.py',
    '../_base_/datasets/digit_scenes_det.py',
    '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py',
]

default_scope = 'mmdet'
custom_imports = dict(imports=['lth_det'], allow_failed_imports=False)

model = dict(
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[127.5] * 3,
        std=[64.0] * 3,
        bgr_to_rgb=True,
        pad_size_divisor=32))
train_cfg = dict(max_epochs=3)
