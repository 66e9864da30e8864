# What the small pictures have in common: batches of 256, and the part of the files that each loader
# reads. Paper A, section A.3: the last 5,000 training pictures of the file choose the epoch, the
# official test set is reported. Who inherits names the data set's type, root and pipelines.
train_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(part='train', val_last=5000))
val_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(part='val', val_last=5000, test_mode=True))
test_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(part='test', test_mode=True))
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
