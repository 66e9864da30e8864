# AdamW with a short warm-up and a cosine that ends with `train_cfg.max_epochs`, whatever that is:
# a shorter training needs no other change.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01, fused=True))

param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, convert_to_iter_based=True),
]

# Validation costs as much as an epoch: only at the end, which mmengine always adds.
train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=1000)
val_cfg = dict()
test_cfg = dict()
