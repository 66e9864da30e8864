# Fashion-MNIST, 28 x 28 grey pixels, 10 classes.
# Paper A, section A.3: the first 55,000 training pictures train, the last 5,000 of the file choose
# the epoch, the official test set is reported. LTH_DATA_ROOT names the folder that holds fashion_mnist.
_base_ = './small_pictures.py'

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
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=test_pipeline))
