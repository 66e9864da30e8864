# Paper B, Fig. 7: tickets of 10 % of ImageNet's images, rewound to a point with
# as large a share of the training as with all of ImageNet: 3.3 %, which are 6.6 epochs.
_base_ = '../paper_b/imagenet/resnet50_few_images.py'

imp = dict(rewind_at='3.3%')
