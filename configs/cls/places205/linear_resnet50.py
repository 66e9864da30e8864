# Paper B, Fig. 1: a linear classifier on frozen features, trained on Places205. From a checkpoint of any
# pre-training, dense or pruned: --cfg-options model.backbone.init_cfg.checkpoint=FILE
# LTH_DATA_ROOT names the folder that holds places205, into which imagesPlaces205_resize and
# trainvalsplit_places205 of places.csail.mit.edu have been unpacked, as they are.
_base_ = '../imagenet/linear_resnet50.py'
record = dict(task='Places205 linear')

data_root = '{{$LTH_DATA_ROOT:data}}/places205'
images = 'data/vision/torralba/deeplearning/images256'
lists = 'trainvalsplit_places205'

data_preprocessor = dict(num_classes=205)
model = dict(head=dict(num_classes=205))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='Places205',
        data_root=data_root,
        ann_file=f'{lists}/train_places205.csv',
        data_prefix=images,
        pipeline={{_base_.train_pipeline}}))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='Places205',
        data_root=data_root,
        ann_file=f'{lists}/val_places205.csv',
        data_prefix=images,
        pipeline={{_base_.test_pipeline}}))
test_dataloader = val_dataloader
