# Paper B, Fig. 5a: labels of 10 % of ImageNet's images, as many of every class; nothing else is seen.
_base_ = [
    '../../../_base_/models/imagenet_resnet50.py',
    '../../../_base_/datasets/imagenet_labels.py',
    '../../../_base_/schedules/paper_b_imagenet_200e.py',
]
record = dict(task='ImageNet labels of 10 % of images')

optim_wrapper = dict(optimizer=dict(weight_decay=1e-3))

# 8 x 96 in the paper; 768 over all processes, whatever their number.
assert 768 % int('{{$WORLD_SIZE:1}}') == 0, 'a batch of 768 cannot be dealt out evenly'
batch_size = 768 // int('{{$WORLD_SIZE:1}}')
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        _delete_=True, type='Portion', images=0.1, dataset=_base_.train_dataloader.dataset))
