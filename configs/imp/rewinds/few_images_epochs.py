# Paper B, Fig. 7: tickets of 10 % of ImageNet's images, rewound to a point with
# as many epochs as all of ImageNet: 3, of 30 by samples.
_base_ = '../paper_b/imagenet/resnet50_few_images.py'

imp = dict(rewind_at='3ep')
