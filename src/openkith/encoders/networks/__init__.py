"""Encoders that are torch networks, one architecture a module, and the parts they are made of.

The modules::

    ge2e        the default encoder
    ecapa, eres2net, resnet, resnetse, wavlm                the others
    network     what all but GE2E share: devices, precision, threads, frames
    pooling     from frames to one vector
    folding     batch norms taken into the layers before them
    packed_lstm an LSTM in the processor's own order
"""
