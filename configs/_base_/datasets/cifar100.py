# CIFAR-100, 32 x 32 pixels, 100 classes.
# Paper A, section A.3: the first 45,000 training pictures train, the last 5,000 of the file choose
# the epoch, the official test set is reported. LTH_DATA_ROOT names the folder that holds cifar100.
_base_ = './small_pictures.py'

dataset_type = 'SplitCIFAR100'
data_root = '{{$LTH_DATA_ROOT:data}}/cifar100'
data_preprocessor = dict(
    num_classes=100,
    mean=[255 * value for value in (0.5071, 0.4866, 0.4409)],
    std=[255 * value for value in (0.2009, 0.1984, 0.2023)],
    to_rgb=False)  # the files are in this order already

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=test_pipeline))
