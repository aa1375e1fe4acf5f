"""Box-shaped rooms: the direct path where it must be, echoes as computed by hand, and the decay that was asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from openkith.audio.rooms import Room, convolve, direct_path, draw_room, room_response
from openkith.errors import AudioError, ConfigError

RATE = 16_000
ROOM = Room((5.0, 4.0, 3.0), (1.0, 1.0, 1.5), (3.0, 2.5, 1.2), 0.4)


def decay_seconds(response: np.ndarray) -> float:
    """Reverberation time from Schroeder's integral between -5 and -25 dB."""
    energy = np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1]
    db = 10 * np.log10(energy / energy[0])
    return 3 * float(np.argmax(db < -25) - np.argmax(db < -5)) / RATE


def test_the_direct_path_comes_after_the_distance() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        room = draw_room(rng)
        response = room_response(room, rng)
        expected = math.dist(room.source, room.microphone) / 343 * RATE
        assert abs(direct_path(response) - expected) <= 1.5
        assert response.dtype == np.float32
        assert np.abs(response).max() == pytest.approx(1)
        assert np.abs(response[: int(expected) - 15]).max(initial=0) < 0.02


def test_the_first_echo_is_that_of_the_floor() -> None:
    """By hand: both 0.5 m over the floor and 1 m apart: sqrt(1 + 1) m by way of it; all other walls are 5 m away."""
    room = Room((12.0, 11.0, 11.0), (5.5, 5.5, 0.5), (6.5, 5.5, 0.5), 1.5)
    response = room_response(room, np.random.default_rng(0))
    direct, echo = 1 / 343 * RATE, math.sqrt(2) / 343 * RATE
    after = np.abs(response[round(direct) + 8 : round(direct) + 200])
    found = round(direct) + 8 + int(after.argmax())
    assert abs(found - echo) <= 3  # +-4 cm of jitter
    ratio = np.abs(response[found - 2 : found + 3]).max() / np.abs(response).max()
    assert 0.5 < ratio * math.sqrt(2) < 1.05  # the wall's share, which is high in such a large and live room


@pytest.mark.parametrize("t60", [0.15, 0.3, 0.5, 0.8, 1.5])
def test_reverberation_time(t60: float) -> None:
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        drawn = draw_room(rng)
        found.append(decay_seconds(room_response(Room(drawn.size, drawn.source, drawn.microphone, t60), rng)))
    assert np.mean(found) == pytest.approx(t60, rel=0.35)


def test_farther_is_less_direct() -> None:
    def share(x: float) -> float:
        room = Room((8.0, 6.0, 3.0), (1.0, 3.0, 1.5), (1.0 + x, 3.2, 1.4), 0.5)
        h = room_response(room, np.random.default_rng(0)).astype(np.float64)
        end = direct_path(h) + 32
        return float(np.sum(h[:end] ** 2) / np.sum(h**2))

    assert share(0.4) > share(1.5) > share(5.0)


def test_same_seed_same_room() -> None:
    one, two, other = (room_response(ROOM, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert draw_room(np.random.default_rng(3)) == draw_room(np.random.default_rng(3))


def test_convolution_is_aligned_and_at_its_level() -> None:
    rng = np.random.default_rng(0)
    x = (0.1 * rng.standard_normal(8000)).astype(np.float32)
    delta = np.zeros(700)
    delta[321] = -0.01  # late, quiet and upside down
    y = convolve(x, delta)
    assert y.dtype == np.float32
    assert np.abs(y + x).max() < 1e-6
    wet = convolve(x, room_response(ROOM, rng))
    assert len(wet) == len(x)
    assert np.sqrt(np.mean(wet**2)) == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-4)
    lags = np.correlate(wet.astype(np.float64), x.astype(np.float64), "full")
    assert abs(int(np.abs(lags).argmax()) - (len(x) - 1)) <= 1


def test_convolution_by_hand() -> None:
    y = convolve(np.array([1.0, 0.0, 0.0, 2.0]), np.array([0.5, 0.25]))
    expected = np.array([1.0, 0.5, 0.0, 2.0])
    assert np.allclose(y, expected * np.sqrt(5 / 5.25), atol=1e-6)


def test_the_direct_path_may_be_weaker_than_an_echo() -> None:
    h = np.zeros(100)
    h[[10, 11, 40]] = 0.55, 0.7, 1.0
    assert direct_path(h) == 11


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": (0.1, 4, 3)}, "size is"),
        ({"size": (5, 4)}, "give three numbers"),
        ({"source": (6, 1, 1)}, "source .* is outside"),
        ({"microphone": (1, 1, float("nan"))}, "three numbers"),
        ({"microphone": (1.0, 1.0, 1.5)}, "at one place"),
        ({"t60": 0.0}, "t60 is 0"),
        ({"t60": float("nan")}, "t60 is nan"),
    ],
)
def test_rooms_that_are_none(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Room(
            **{"size": ROOM.size, "source": ROOM.source, "microphone": ROOM.microphone, "t60": 0.4, **change}
        )


def test_what_is_refused() -> None:
    with pytest.raises(AudioError, match="silent"):
        convolve(np.ones(10), np.zeros(10))
    for bad in (np.zeros(0), np.zeros((2, 2)), np.array([np.nan])):
        with pytest.raises(AudioError, match="give one channel"):
            convolve(bad, np.ones(3))
        with pytest.raises(AudioError, match="give one channel"):
            convolve(np.ones(3), bad)
