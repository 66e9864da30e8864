# CIFAR-10, 32 x 32 pixels, 10 classes.
# Paper A, section A.3: the first 45,000 training pictures train, the last 5,000 of the file choose
# the epoch, the official test set is reported. LTH_DATA_ROOT names the folder that holds cifar10.
_base_ = './small_pictures.py'

dataset_type = 'SplitCIFAR10'
data_root = '{{$LTH_DATA_ROOT:data}}/cifar10'
data_preprocessor = dict(
    num_classes=10,
    mean=[255 * value for value in (0.4914, 0.4822, 0.4465)],
    std=[255 * value for value in (0.2023, 0.1994, 0.2010)],
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
