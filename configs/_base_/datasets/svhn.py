# SVHN, 32 x 32 pixels, 10 digits; without the extra set.
# Paper A, section A.3: the first 68,257 training pictures train, the last 5,000 of the file choose
# the epoch, the official test set is reported. LTH_DATA_ROOT names the folder that holds svhn.
dataset_type = 'SplitSVHN'
data_root = '{{$LTH_DATA_ROOT:data}}/svhn'
data_preprocessor = dict(
    num_classes=10,
    mean=[255 * value for value in (0.4377, 0.4438, 0.4728)],
    std=[255 * value for value in (0.1201, 0.1231, 0.1052)],
    to_rgb=False)  # the files are in this order already

# No augmentation.
train_pipeline = [dict(type='PackInputs')]
test_pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        part='train',
        val_last=5000,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        part='val',
        val_last=5000,
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        part='test',
        pipeline=test_pipeline,
        test_mode=True))
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
