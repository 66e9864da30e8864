# The study's detection task: each scene is seen once, and boxes are judged as in the paper, at
# overlaps of .50:.05:.95.
_base_ = '../digits_fcos.py'

train_cfg = dict(max_epochs=1)
val_evaluator = dict(
    _delete_=True,
    type='VOCAveragePrecision',
    metric='mAP',
    eval_mode='area',
    iou_thrs=[0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
test_evaluator = val_evaluator
