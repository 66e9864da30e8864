# VOC 2012 segmentation with the labels of the Semantic Boundaries Dataset added to the train list,
# in the layout of mmsegmentation (SegmentationClassAug, ImageSets/Segmentation/aug.txt).
_base_ = './voc2012_513.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            {{_base_.voc_train}},
            dict(
                type='VOCSegmentation',
                data_root={{_base_.data_root}},
                data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
                ann_file='ImageSets/Segmentation/aug.txt',
                pipeline={{_base_.train_pipeline}}),
        ]))
