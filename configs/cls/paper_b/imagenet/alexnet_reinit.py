# Paper B, Figs. 3 to 5 and 8, Random Reinit: a mask trained on labels from random weights.
_base_ = './alexnet_winning.py'

ticket = dict(weights='reinit')
