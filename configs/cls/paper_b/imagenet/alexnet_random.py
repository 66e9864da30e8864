# Paper B, Figs. 3 to 5, 8 and 9, Random: the mask randomly permuted, read as within each layer, from
# random weights. Another draw: --cfg-options ticket.variant.seed=1 ticket.seed=1
_base_ = './alexnet_reinit.py'

ticket = dict(variant=dict(type='random', match='layer'))
