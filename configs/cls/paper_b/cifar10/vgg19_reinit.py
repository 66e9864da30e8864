# Paper B, Figs. 3 to 5 and 8, Random Reinit: a mask trained on labels from random weights.
_base_ = './vgg19_winning.py'

ticket = dict(weights='reinit')
