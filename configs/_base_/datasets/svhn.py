# SVHN, 32 x 32 pixels, 10 digits; without the extra set.
# Paper A, section A.3: the first 68,257 training pictures train, the last 5,000 of the file choose
# the epoch, the official test set is reported. LTH_DATA_ROOT names the folder that holds svhn.
_base_ = './small_pictures.py'

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
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=test_pipeline))
