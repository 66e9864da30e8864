# As the released code: LARS on all parameters, its own loss, no blur, images in the order of their
# classes, views compared within 256 images; the first mask is taken of the weights as given,
# momentum is carried over from level to level, and the projection head is never rewound.
_base_ = './simclr_resnet50_imagenet.py'
imp = dict(preset='paper-a-code-simclr')
model = dict(head=dict(loss=dict(type='LogMeanProbabilityLoss')))
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='LARS', lr=1e-4, momentum=0.9, weight_decay=1e-6, eta=1e-3))

view_pipeline = [step for step in _base_.view_pipeline if step.type != 'GaussianBlur']
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]
train_dataloader = dict(sampler=dict(shuffle=False), dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(pool=256, topk=(1, 3, 5))
test_evaluator = val_evaluator
randomness = dict(seed=2)
