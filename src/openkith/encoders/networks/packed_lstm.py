"""An LSTM whose weights are brought into the processor's order once, not at every call.

torch does that reordering (oneDNN's) whenever an `torch.nn.LSTM` is run: a millisecond for three layers of 256, as long
as the LSTM itself takes for a tenth of a second of speech. The operators that keep the order are torch's own, which
its compiler uses; where they are not there, or do not give the same, the LSTM is run as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["pack_lstm"]

_LSTM_MODE = 2  # among torch's recurrent layers
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}

States = Callable[[torch.Tensor], torch.Tensor]


def pack_lstm(lstm: torch.nn.LSTM) -> States:
    """The hidden states (b, T, hidden) of an LSTM on inputs (b, T, f), as a function.

    Args:
        lstm: With biases, one direction, ``batch_first``; its weights must not change afterwards.
    """

    def plain(inputs: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = lstm(inputs)[0]
        return states

    weight = lstm.weight_ih_l0
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return plain
    example = torch.linspace(-1, 1, 2 * 3 * lstm.input_size).reshape(2, 3, -1).to(weight.dtype)
    try:
        with torch.inference_mode():
            packed = _packed(lstm)
            difference = (packed(example) - plain(example)).abs().max()
    except (AttributeError, RuntimeError, TypeError):  # another torch, or a processor without the type
        return plain
    return packed if difference < _TOLERANCE.get(weight.dtype, 0.0) else plain


def _packed(lstm: torch.nn.LSTM) -> States:
    layers = []
    for layer in range(lstm.num_layers):
        w_in, w_hidden, *biases = (
            getattr(lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        # Packed for sequences of 160 in batches of 32; others are computed with the same order.
        size = [160, 32, w_in.shape[1]]
        order = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight
        layers.append((*order(w_in, w_hidden, lstm.hidden_size, False, True, False, size), *biases))

    def states(inputs: torch.Tensor) -> torch.Tensor:
        hidden = inputs.transpose(0, 1).contiguous()
        start = hidden.new_zeros(1, hidden.shape[1], lstm.hidden_size)
        for weights in layers:
            hidden = torch.ops.aten.mkldnn_rnn_layer(
                hidden,
                *weights,
                start,
                start,
                reverse=False,
                batch_sizes=[],
                mode=_LSTM_MODE,
                hidden_size=lstm.hidden_size,
                num_layers=1,
                has_biases=True,
                bidirectional=False,
                batch_first=False,
                train=False,
            )[0]
        return hidden.transpose(0, 1)

    return states
