# The backbone of all embedded tasks: ResNet-18 with a quarter of the usual width. Type and
# arguments mean the same to mmpretrain, mmdet and mmseg, and the weights have torchvision's
# names in all three, so that what one of them learns fits into the others.
model = dict(
    backbone=dict(
        type='ResNet',
        depth=18,
        stem_channels=16,
        base_channels=16,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        # Residual branches that start at zero need longer than these trainings last.
        zero_init_residual=False,
        style='pytorch'))
