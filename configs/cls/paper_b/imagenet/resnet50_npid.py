# Paper B, table of recipes: NPID, ResNet-50, 16,384 negatives. Embeddings of 128 numbers, temperature
# 0.07 and a memory that moves by half are those of its authors (Wu et al., 2018). Pictures are cropped
# and flipped as for labels: of other augmentation the paper speaks with Exemplar alone.
_base_ = [
    '../../../_base_/models/imagenet_resnet50.py',
    '../../../_base_/datasets/imagenet_labels.py',
    '../../../_base_/schedules/paper_b_imagenet.py',
]
record = dict(task='ImageNet NPID')

model = dict(
    type='NPID',
    samples=1281167,
    channels=128,
    negatives=16384,
    momentum=0.5,
    # In place of the last layer, and as that not pruned.
    neck=dict(
        _delete_=True,
        type='LinearNeck',
        in_channels=2048,
        out_channels=128,
        gap_dim=2,
        norm_cfg=None),
    head=dict(
        _delete_=True,
        type='ContrastiveHead',
        loss=dict(type='CrossEntropyLoss'),
        temperature=0.07))
data_preprocessor = dict(
    _delete_=True,
    type='SelfSupDataPreprocessor',
    mean=_base_.data_preprocessor.mean,
    std=_base_.data_preprocessor.std,
    to_rgb=True)
# There is nothing to validate: its classes are the training pictures.
val_dataloader = test_dataloader = None
val_evaluator = test_evaluator = None
val_cfg = test_cfg = None

train_cfg = dict(max_epochs=150)
optim_wrapper = dict(optimizer=dict(lr=0.03))
param_scheduler = [
    dict(type='CosineAnnealingLR', by_epoch=True, T_max=150, convert_to_iter_based=True),
]

# 8 x 128 in the paper; 1024 over all processes, whatever their number.
assert 1024 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 1024 cannot be dealt out evenly'
batch_size = 1024 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(batch_size=batch_size)
