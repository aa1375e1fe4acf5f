"""The packed LSTM beside torch's own, and what stands in for it elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from openkith.encoders.networks.packed_lstm import pack_lstm


def lstm(layers: int = 2, dtype: torch.dtype = torch.float32) -> torch.nn.LSTM:
    torch.manual_seed(0)
    made = torch.nn.LSTM(40, 64, layers, batch_first=True).eval().requires_grad_(False)
    return made.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 160), (3, 7), (32, 160), (50, 20)])
def test_it_gives_what_torch_gives(shape: tuple[int, int], dtype: torch.dtype) -> None:
    made = lstm(dtype=dtype)
    packed = pack_lstm(made)
    inputs = torch.randn(*shape, 40, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.inference_mode():
        found, expected = packed(inputs), made(inputs)[0]
        assert found.shape == expected.shape == (*shape, 64)
        assert found.dtype == dtype
        np.testing.assert_allclose(
            found.float(), expected.float(), atol=1e-5 if dtype.itemsize == 4 else 0.02
        )


@pytest.mark.parametrize("fault", ["no operator", "another result", "no oneDNN"])
def test_elsewhere_the_lstm_is_run_as_it_is(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, called = lstm(1), []
    made.register_forward_hook(lambda *_: called.append(1))

    def broken(_: torch.nn.LSTM) -> object:
        if fault == "no operator":
            raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute")
        return lambda inputs: torch.ones(*inputs.shape[:2], 64)

    if fault == "no oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    else:
        monkeypatch.setattr("openkith.encoders.networks.packed_lstm._packed", broken)
    packed = pack_lstm(made)
    called.clear()
    inputs = torch.randn(2, 5, 40)
    with torch.inference_mode():
        torch.testing.assert_close(packed(inputs), made(inputs)[0])
    assert len(called) == 2
