# Paper C, standard pre-training (main_std.py): 19 rounds from torchvision's weights, every convolution
# pruned, the first mask taken of the weights as given, all survivors set back to them in each round.
_base_ = [
    '../../../_base_/models/resnet50_supervised.py',
    '../../../_base_/datasets/imagenet_labels.py',
    '../../../_base_/schedules/paper_c_imagenet.py',
]
record = dict(task='ImageNet labels')
imp = dict(preset='paper-c')

# 2048 over all processes, whatever their number.
assert 2048 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 2048 cannot be dealt out evenly'
batch_size = 2048 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(batch_size=batch_size)
