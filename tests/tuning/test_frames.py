"""The GRU over frames: torch's own, stacked over members, with padding that does not count."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from openkith.errors import ConfigError
from openkith.tuning.frames import GRUAdapter


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_torchs_modules(adapter: GRUAdapter, frames: Tensor) -> Tensor:
    """One member, clips without padding."""
    gru = torch.nn.GRU(adapter.dim, adapter.width, batch_first=True).double()
    linear = torch.nn.Linear(adapter.width, adapter.out).double()
    own = dict(adapter.named_parameters())
    with torch.no_grad():
        for theirs, ours in (
            *((f"{name}_l0", name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        ):
            getattr(gru, theirs).copy_(own[ours])
        linear.weight.copy_(own["weight_out"].T)
        linear.bias.copy_(own["bias_out"])
    result: Tensor = linear(gru(frames)[0].mean(1))
    return result


def test_by_definition() -> None:
    adapter = GRUAdapter(6, 4, hidden=(5,), generator=generator()).double()
    frames = torch.randn(3, 7, 6, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(adapter(frames), by_torchs_modules(adapter, frames))


def test_the_papers_sizes() -> None:
    adapter = GRUAdapter(768)
    assert (adapter.width, adapter.out) == (512, 256)
    assert adapter.weight_ih.shape == (3 * 512, 768)


def test_padding_does_not_count() -> None:
    adapter = GRUAdapter(6, 4, members=2, hidden=(5,), generator=generator()).double()
    frames = torch.randn(3, 7, 6, generator=generator(1), dtype=torch.float64)
    lengths = torch.tensor([7, 2, 4])
    out = adapter(frames, lengths)
    assert out.shape == (2, 3, 4)
    for i, length in enumerate(lengths):
        torch.testing.assert_close(out[:, i], adapter(frames[i : i + 1, :length])[:, 0])
    frames[1, 2:] = 100.0
    torch.testing.assert_close(adapter(frames, lengths)[:, 1], out[:, 1])


def test_members_have_frames_of_their_own() -> None:
    adapter = GRUAdapter(6, 4, members=2, hidden=(5,), generator=generator()).double()
    frames = torch.randn(2, 3, 7, 6, generator=generator(1), dtype=torch.float64)
    lengths = torch.tensor([[7, 3, 1], [2, 7, 5]])
    out = adapter(frames, lengths)
    out[0].sum().backward()
    for parameter in adapter.parameters():
        assert parameter.grad is not None
        assert parameter.grad[0].abs().max() > 0
        assert not parameter.grad[1].any()
    for s in range(2):
        alone = GRUAdapter(6, 4, hidden=(5,)).double()
        alone.load_state_dict({name: value[s] for name, value in adapter.state_dict().items()})
        torch.testing.assert_close(alone(frames[s], lengths[s]), out[s])


def test_gradients() -> None:
    adapter = GRUAdapter(3, 2, hidden=(4,), generator=generator()).double()
    lengths = torch.tensor([3, 2])

    def out(frames: Tensor) -> Tensor:
        result: Tensor = adapter(frames, lengths)
        return result

    frames = torch.randn(2, 3, 3, generator=generator(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(out, (frames,))


def test_the_generator_decides() -> None:
    state = torch.get_rng_state()
    first, again, other = (GRUAdapter(6, 4, hidden=(5,), generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.weight_ih, again.weight_ih)
    assert not torch.equal(first.weight_ih, other.weight_ih)
    assert first.weight_hh.abs().max() <= 5**-0.5
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_made() -> None:
    with pytest.raises(ConfigError, match=r"^hidden is \[5, 6\]; the gru adapter has one width"):
        GRUAdapter(6, hidden=(5, 6))
    with pytest.raises(ConfigError, match=r"^norm is 'batch'; the gru adapter has none"):
        GRUAdapter(6, norm="batch")
    with pytest.raises(ConfigError, match=r"^out is 0"):
        GRUAdapter(6, 0)
