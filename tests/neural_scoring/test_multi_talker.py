"""Who is heard in a clip: on made-up tokens, and on real speech with the model that ships."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from openkith.audio import Audio, load, trim_silence
from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.metrics import eer
from openkith.neural_scoring import multi_talker as module
from openkith.neural_scoring import talker_model
from openkith.neural_scoring.multi_talker import MultiTalker, shipped_multi_talker
from openkith.neural_scoring.talker_model import ARTEFACT, TalkerModel, Tokens

sys.path.insert(0, str(Path(__file__).parents[1]))
from token_people import DIM, LOOKS, PREFIXES, some_model, some_tokens, unit

if TYPE_CHECKING:
    from openkith.encoders.networks.ge2e import GE2E


class Named:
    """An encoder of which only the name is asked."""

    name, dim, fingerprint = "small", DIM, "small/1"


@pytest.fixture
def small() -> MultiTalker:
    return MultiTalker(Named(), some_model(np.random.default_rng(0)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shipped(ge2e: GE2E) -> MultiTalker:
    return shipped_multi_talker(ge2e)


@pytest.fixture(scope="module")
def family(speech: Path) -> list[list[Audio]]:
    """Two utterances of over 4 s of each person of home."""
    people = []
    for person in sorted((speech / "home").iterdir()):
        clips = [trim_silence(load(path)) for path in sorted(person.iterdir())]
        people.append([clip for clip in clips if clip.seconds > 4.0][:2])
    return people


def cut(clip: Audio, seconds: float) -> Audio:
    return replace(clip, samples=clip.samples[: round(16_000 * seconds)])


def together(*clips: Audio) -> Audio:
    """All at once, equally loud."""
    n = min(len(clip.samples) for clip in clips)
    loud = [clip.samples[:n] / np.sqrt(np.mean(clip.samples[:n] ** 2)) for clip in clips]
    return replace(clips[0], samples=(0.03 * np.sum(loud, axis=0)).astype(np.float32))


def one_after_the_other(*clips: Audio) -> Audio:
    loud = [0.03 * clip.samples / np.sqrt(np.mean(clip.samples**2)) for clip in clips]
    return replace(clips[0], samples=np.concatenate(loud).astype(np.float32))


def test_long_clips_are_scored_in_pieces(small: MultiTalker) -> None:
    rng = np.random.default_rng(5)
    tokens, people = some_tokens(rng, windows=23), rng.standard_normal((4, DIM)).astype(np.float32)
    pieces = [(0, 9), (5, 14), (10, 19), (14, 23)]
    expected = np.max([small.score(people, tokens.between(*piece)) for piece in pieces], axis=0)
    assert small.score(people, tokens) == pytest.approx(expected)
    assert talker_model._pieces(10) == [(0, 9), (1, 10)]
    assert talker_model._pieces(14) == [(0, 9), (5, 14)]


def test_probabilities_lie_on_the_line(small: MultiTalker) -> None:
    scores = np.array([-1.0, 0.0625, 0.4])
    assert small.log_odds(scores) == pytest.approx([-8.5, 0.0, 2.7])
    assert small.probabilities(scores) == pytest.approx(1 / (1 + np.exp([8.5, 0.0, -2.7])))
    assert small.probabilities(scores, prior=0.1)[1] == pytest.approx(0.1)
    for prior in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="prior"):
            small.probabilities(scores, prior)


def test_times_of_the_windows_that_match() -> None:
    times = np.stack([0.3 * np.arange(9), 0.3 * np.arange(9) + 1.6], axis=1)
    log_odds = np.array([9.0, 7, 4, 0, -4, -7, -9, -9, -9])
    [[(start, end)]] = module._matching_times(log_odds[:, None], times)
    assert start == 0.0
    assert end == pytest.approx(1.7, abs=0.21)
    # likely as a whole, though no window is: its likeliest moment
    log_odds = np.full(9, -1.0) + 0.5 * (np.arange(9) == 4)
    [[(start, end)]] = module._matching_times(log_odds[:, None], times)
    assert 1.8 <= start < end <= 2.2
    [both] = module._matching_times(np.array([5.0, 2, -9, -9, -9, -9, -9, 2, 5])[:, None], times)
    assert [round(a) for a, _ in both] == [0, 3]
    assert both[1][1] == pytest.approx(4.0)


def test_a_moment_too_short_to_say_anything_in_is_not_told() -> None:
    times = np.stack([0.3 * np.arange(9), 0.3 * np.arange(9) + 1.6], axis=1)
    turns = np.array([9.0, 9, 9, 2, -9, -9, -9, -9, -3])
    own = np.stack([turns, -turns], axis=1)
    for spans in module._matching_times(own, times):
        assert all(end - start > 0.25 for start, end in spans)
    alone = np.full((9, 1), -1.0)
    alone[4] = 0.5
    [[(start, end)]] = module._matching_times(alone, times)
    assert end - start < 0.5


def test_a_moment_belongs_to_whom_it_speaks_far_more_for() -> None:
    times = np.stack([0.3 * np.arange(9), 0.3 * np.arange(9) + 1.6], axis=1)
    turns = np.array([9.0, 9, 9, 9, 5, 1, 1, 1, 1])
    first, second = module._matching_times(np.stack([turns, turns[::-1]], axis=1), times)
    assert first == [(0.0, pytest.approx(2.1, abs=0.21))]
    assert second == [(pytest.approx(1.9, abs=0.21), 4.0)]
    at_once = module._matching_times(np.stack([turns, turns - 1.0], axis=1), times)
    assert [spans[0][0] for spans in at_once] == [0.0, 0.0]
    assert [spans[-1][1] for spans in at_once] == [4.0, pytest.approx(2.6, abs=0.5)]


def test_times_are_those_of_the_clip_with_its_silences(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Audio(np.zeros(16_000 * 9, np.float32), "clip")
    monkeypatch.setattr(module, "trim_silence", lambda clip: cut(clip, 6.0))
    monkeypatch.setattr(module, "speech_segments", lambda clip: [(1.0, 3.0), (5.0, 9.0)])  # noqa: ARG005
    assert module._in_clip([(0.5, 1.5), (3.0, 4.0)], clip) == ((1.5, 2.5), (6.0, 7.0))
    assert module._in_clip([(1.5, 2.5)], clip) == ((2.5, 5.5),)
    monkeypatch.setattr(module, "trim_silence", lambda clip: clip)
    assert module._in_clip([(0.5, 1.5)], clip) == ((0.5, 1.5),)


def test_heard_lists_all_who_match(small: MultiTalker, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    model = small.model
    model = replace(
        model, maps=model.token_maps, token_centres=np.stack([model.centre] * 2), line=(20.0, -4.0)
    )
    people = unit(rng.standard_normal((3, DIM)))
    states = np.empty((LOOKS, 12, PREFIXES, DIM), np.float32)
    states[:, :6], states[:, 6:] = people[2], people[0]
    begin = 0.3 * np.arange(12)
    tokens = Tokens(states[:, :, -1], states, np.stack([begin, begin + 1.6], axis=1))
    monkeypatch.setattr(MultiTalker, "tokens", lambda self, clip: tokens)  # noqa: ARG005
    scorer = MultiTalker(Named(), model)  # type: ignore[arg-type]
    clip = Audio(rng.standard_normal(80_000).astype(np.float32), "clip")
    monkeypatch.setattr(module, "trim_silence", lambda clip: clip)
    found = scorer.heard(people, clip)
    probabilities = scorer.probabilities(scorer.score(people, tokens))
    assert [(each.index, each.probability) for each in found] == [
        (i, probabilities[i]) for i in np.argsort(-probabilities) if probabilities[i] >= 0.5
    ]
    by_index = {each.index: each.times for each in found}
    assert set(by_index) == {0, 2}
    assert by_index[2][0][0] == 0.0
    assert by_index[0][-1][1] == pytest.approx(4.9)
    assert scorer.heard(people, clip, threshold=1.0) == []
    assert scorer.heard(people[:0], clip) == []


def test_another_encoder_is_refused(small: MultiTalker, bands: Any) -> None:
    with pytest.raises(InputError, match=r"small/1.*bands/1"):
        MultiTalker(bands, small.model)
    with pytest.raises(ConfigError, match="no multi-talker model ships for the encoder 'bands'"):
        shipped_multi_talker(bands)


def test_too_few_people(ge2e: GE2E, record: Callable[..., Path]) -> None:
    clip = load(record(1, 1, seconds=3.0))
    with pytest.raises(NotEnoughDataError, match="0 people of the cohort"):
        MultiTalker.fit(ge2e, [[clip]] * 20)


def test_what_ships_is_small_and_of_the_default_encoder(ge2e: GE2E) -> None:
    with resources.as_file(resources.files("openkith.neural_scoring").joinpath(ARTEFACT)) as path:
        assert path.stat().st_size < 3_000_000
        model = TalkerModel.load(path)
    assert model.fingerprint == ge2e.fingerprint
    assert "LibriSpeech" in model.source
    assert model.line[0] > 0
    assert model.window_line[0] > 0


def test_another_front_end_has_no_model(ge2e: GE2E, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ge2e, "fingerprint", "ge2e/other")
    with pytest.raises(ConfigError, match="no multi-talker model ships"):
        shipped_multi_talker(ge2e)


def test_people_of_home_in_twos(shipped: MultiTalker, family: list[list[Audio]]) -> None:
    enrolments = shipped.enrol([cut(own[0], 4.0) for own in family])
    targets, nontargets, heard = [], [], []
    for first in range(len(family)):
        second = (first + 3) % len(family)
        clip = together(cut(family[first][1], 4.0), cut(family[second][1], 4.0))
        scores = shipped.score(enrolments, shipped.tokens(clip))
        mask = np.isin(np.arange(len(family)), [first, second])
        targets.append(scores[mask])
        nontargets.append(scores[~mask])
        heard.append({first, second} & {each.index for each in shipped.heard(enrolments, clip)})
    cosine = np.concatenate(targets), np.concatenate(nontargets)
    assert eer(*cosine) < 0.22
    assert sum(len(each) for each in heard) >= 15
    # as probable as is said, about
    said = shipped.probabilities(np.concatenate(targets)).mean()
    assert said > 0.65
    assert shipped.probabilities(np.concatenate(nontargets)).mean() < 0.3


def test_one_after_another_and_when(shipped: MultiTalker, family: list[list[Audio]]) -> None:
    enrolments = shipped.enrol([cut(own[0], 4.0) for own in family])
    right, overlaps = 0, []
    for first in range(len(family)):
        second = (first + 5) % len(family)
        parts = [cut(family[first][1], 3.5), cut(family[second][1], 3.5)]
        clip = one_after_the_other(*parts)
        for each in shipped.heard(enrolments, clip):
            if each.index in (first, second):
                right += 1
                low, high = (0.0, 3.5) if each.index == first else (3.5, clip.seconds)
                inside = sum(max(0.0, min(end, high) - max(start, low)) for start, end in each.times)
                overlaps.append(inside / sum(end - start for start, end in each.times))
    assert right >= 17
    assert np.mean(overlaps) > 0.8


@pytest.fixture
def cohort(record: Callable[..., Path]) -> Iterator[list[list[Audio]]]:
    return [[load(record(100 + i, take, seconds=5.7)) for take in (1, 2)] for i in range(12)]


@pytest.mark.slow
def test_fit_learns_voices_it_has_not_heard(
    ge2e: GE2E, cohort: list[list[Audio]], record: Callable[..., Path]
) -> None:
    told = []
    scorer = MultiTalker.fit(
        ge2e, cohort, per_scenario=12, source="vowels", progress=lambda *step: told.append(step[1:])
    )
    assert told[0] == (0, 5)
    assert told[-1] == (5, 5)
    assert scorer.model.source == "vowels"
    assert scorer.model.line[0] > 0
    people = scorer.enrol([load(record(i, 1)) for i in range(6)])
    scores = np.stack([scorer.score(people, scorer.tokens(load(record(i, 2)))) for i in range(6)])
    assert eer(np.diag(scores), scores[~np.eye(6, dtype=bool)]) < 0.2
    assert scorer.encoder is ge2e
