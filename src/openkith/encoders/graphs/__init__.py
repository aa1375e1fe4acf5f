"""Encoders as ONNX graphs: a torch encoder written as one, and the encoder that reads one.

The modules::

    export      a torch encoder as an ONNX file, checked against the encoder
    ge2e_graph  GE2E, operator by operator
    onnx        an ONNX file as an encoder
    onnx_graph  what a graph takes and gives, by its inputs, outputs and metadata
"""
