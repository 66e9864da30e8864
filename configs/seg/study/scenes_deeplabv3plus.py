# The study's segmentation task: smaller batches and steps than the demo's, which go further in half
# of its time.
_base_ = '../digits_deeplabv3plus.py'

optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_dataloader = dict(batch_size=4, dataset=dict(indices=750))
train_cfg = dict(max_epochs=2)
