# Linear SVMs on frozen features of the embedded digits: accuracy of the class with the largest score.
#   lth test configs/cls/svm_digits.py CHECKPOINT
# with a checkpoint of any pre-training on digits whose backbone is this ResNet-18.
_base_ = [
    '../_base_/models/resnet18_w16.py',
    '../_base_/datasets/digits.py',
    '../_base_/default_runtime.py',
]

default_scope = 'mmpretrain'
custom_imports = dict(imports=['lth_cls'], allow_failed_imports=False)
runner_type = 'LTHRunner'
model = dict(
    type='ImageClassifier',
    backbone=dict(out_indices=(3, )),
    neck=dict(type='GlobalAveragePooling'))

train_dataloader = None
val_dataloader = None
val_evaluator = None
test_cfg = dict(
    type='LinearSVMLoop',
    # Few: between the ends nothing changes by more than a digit or two.
    costs=[0.01, 0.1, 1.0, 10.0],
    train_dataloader=dict(
        batch_size=150,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dict(
            type='DigitsDataset',
            split='train',
            pipeline=[dict(type='PackInputs')])))
