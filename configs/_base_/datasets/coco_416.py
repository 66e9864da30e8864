# COCO 2017 in place of VOC, prepared in the same way and measured by COCO's own metric.
# LTH_DATA_ROOT names the folder that holds coco.
_base_ = './voc0712_416.py'

coco_root = '{{$LTH_DATA_ROOT:data}}/coco/'
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            dataset=dict(
                _delete_=True,
                type='CocoDetection',
                data_root=coco_root,
                ann_file='annotations/instances_train2017.json',
                data_prefix=dict(img='train2017/'),
                filter_cfg=dict(filter_empty_gt=True, min_size=1),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', with_bbox=True),
                ]))))
val_dataloader = dict(
    dataset=dict(
        type='CocoDetection',
        data_root=coco_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(_delete_=True, img='val2017/')))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='CocoMetric',
    ann_file=coco_root + 'annotations/instances_val2017.json',
    metric='bbox')
test_evaluator = val_evaluator
