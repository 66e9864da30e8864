# Full fine-tuning on VOC 2007 classification (paper B, Fig. 2), from dense pre-trained weights:
#   lth train configs/cls/voc07/finetune_resnet50.py \
#       --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = [
    '../../_base_/models/resnet50_features.py',
    '../../_base_/datasets/voc07_cls.py',
    '../../_base_/features_runtime.py',
    '../../_base_/schedules/paper_b_voc07.py',
]
record = dict(task='VOC 2007 classification')

model = dict(
    head=dict(
        _delete_=True,
        type='MultiLabelLinearClsHead',
        num_classes=20,
        in_channels=2048))
