# Full fine-tuning on VOC 2007 (paper B, supplement 6.4): 90 epochs, SGD at rate 0.01, a tenth from
# epochs 50, 65 and 80 on. Weight decay is not in the paper: that of Goyal et al.'s fine-tuning on VOC
# 2007 is taken, as their batch size is.
train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=5)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-6))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[50, 65, 80], gamma=0.1)]
