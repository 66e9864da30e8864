# Paper B, Fig. 7: tickets of 10 % of ImageNet's images, rewound to a point with
# as many pictures seen as with all of ImageNet: 3 x 1.28 M, which are 30 epochs.
_base_ = '../paper_b/imagenet/resnet50_few_images.py'

imp = dict(rewind_at='3.84Msamples')
