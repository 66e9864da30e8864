# Fashion-MNIST, 28 x 28 grey pixels, 10 classes.
# Paper A, section A.3: the first 55,000 training pictures train, the last 5,000 of the file choose
# the epoch, the official test set is reported. LTH_DATA_ROOT names the folder that holds fashion_mnist.
dataset_type = 'SplitFashionMNIST'
data_root = '{{$LTH_DATA_ROOT:data}}/fashion_mnist'
# The paper's code has these two values; the training pictures' own are .2860 and .3530.
data_preprocessor = dict(
    num_classes=10,
    mean=[255 * value for value in (0.1436, )],
    std=[255 * value for value in (0.1609, )],
    to_rgb=False)  # one channel

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
