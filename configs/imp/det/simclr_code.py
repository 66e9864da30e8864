# Rounds on VOC detection as paper A's code has them (section A.4, item 14): only the convolutions
# that are pruned are rewound. Stem, norms and their statistics, neck and head train on from round
# to round, so that late rounds have had many times the training of a transferred ticket.
_base_ = './simclr.py'

imp = dict(
    keep=[
        'backbone.conv1.*',
        'backbone.*bn?.*',
        'backbone.*.downsample.1.*',
        'neck.*',
        'bbox_head.*',
    ])
