# Paper B, Fig. 7: tickets of 10 % of ImageNet's images, rewound to a point with
# as many updates as with all of ImageNet: 2,500, which are 15 epochs.
_base_ = '../paper_b/imagenet/resnet50_few_images.py'

imp = dict(rewind_at='2500it')
