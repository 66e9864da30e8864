# A round of paper C on ImageNet (script/imp_pretrain): 30 epochs at batch size 2048 over all processes
# with SGD at a constant rate. Of each level the best epoch on clean images is kept, too; survivors are
# chosen by the weights of the last.
_base_ = './paper_a_pretraining.py'

train_cfg = dict(max_epochs=30, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1', rule='greater'))
randomness = dict(seed=1)
