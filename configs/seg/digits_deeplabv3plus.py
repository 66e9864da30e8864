_base_ = [
    '../_base_/models/deeplabv3plus_resnet18_w16.py',
    '../_base_/datasets/digit_scenes_seg.py',
    '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py',
]

default_scope = 'mmseg'
custom_imports = dict(imports=['lth_seg'], allow_failed_imports=False)

model = dict(
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[127.5] * 3,
        std=[64.0] * 3,
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(96, 96)))
optim_wrapper = dict(optimizer=dict(lr=8e-3))
train_dataloader = dict(batch_size=8)
train_cfg = dict(max_epochs=3)
