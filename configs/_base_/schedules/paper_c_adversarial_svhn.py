# Paper C, adversarial transfer to SVHN (main_adv_eval_svhn.py): 80 epochs from rate 0.01 by a cosine,
# all of them validated. The steps at 50 and 75 that its script hands over go unused in its code.
_base_ = './paper_c_adversarial.py'

train_cfg = dict(max_epochs=80, val_begin=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, T_max=80)]
