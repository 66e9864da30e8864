# Paper B, table of recipes: ImageNet's labels, ResNet-50. What masks are trained on in the end, too.
_base_ = [
    '../../../_base_/models/imagenet_resnet50.py',
    '../../../_base_/datasets/imagenet_labels.py',
    '../../../_base_/schedules/paper_b_imagenet.py',
]
record = dict(task='ImageNet labels')

# 16 x 96 in the paper; 1536 over all processes, whatever their number.
assert 1536 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 1536 cannot be dealt out evenly'
batch_size = 1536 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(batch_size=batch_size)
