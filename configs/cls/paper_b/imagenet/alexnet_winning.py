# Paper B, Figs. 3 to 5 and 8, Winning Tickets: a mask trained on labels from the early weights that its
# ticket holds; the head starts at random. Any other ticket with --cfg-options ticket.path=FILE.
_base_ = './alexnet_labels.py'

ticket = dict(path='{{$LTH_TICKETS:tickets}}/alexnet_rotnet_level10.safetensors')
