# Linear SVMs on frozen features of VOC 2007 (paper B, Fig. 1), as Goyal et al. train them (ICCV 2019;
# facebookresearch/fair_self_supervision_benchmark): of images squeezed to 224 x 224 pixels, the mean of
# the last map, of length 1; for each class a machine with squared hinge loss, positives weighted 2, and
# the cost of the best average precision in three folds. Trains on trainval and tests on test:
#   lth test configs/cls/voc07/svm_resnet50.py CHECKPOINT
# with a checkpoint of any pre-training whose backbone is a ResNet-50, sparse or dense.
_base_ = [
    '../../_base_/models/imagenet_resnet50.py',
    '../../_base_/datasets/voc07_cls.py',
    '../../_base_/features_runtime.py',
]
record = dict(task='VOC 2007 linear SVM')

model = dict(head=None)
train_dataloader = None
val_dataloader = None
val_evaluator = None
val_cfg = None

# As their configs have it: the shorter side to 256, then both to 224.
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='Resize', scale=(224, 224), backend='pillow'),
    {{_base_.pack_with_difficult}},
]
test_dataloader = dict(dataset=dict(pipeline=pipeline))
test_cfg = dict(
    type='LinearSVMLoop',
    jobs=-1,
    train_dataloader=dict(
        batch_size={{_base_.batch_size}},
        num_workers=4,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dict(
            type='VOC', data_root={{_base_.data_root}}, split='trainval', pipeline=pipeline)))
