"""Several voices in one recording, through the recogniser; on real speech with the model that ships."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import openkith.recognizer.roster
from openkith.audio import Audio, load
from openkith.errors import ConfigError
from openkith.evaluation import ClipStore, evaluate
from openkith.recognizer import Recognizer

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, voice

if TYPE_CHECKING:
    from openkith.encoders.networks.ge2e import GE2E


def test_another_encoder_takes_all_for_one_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", fake_cohort)
    with Recognizer(tmp_path / "gallery.db", FakeEncoder()) as recognizer:
        recognizer.enroll("ann", [voice("ann", take) for take in range(2)])
        assert not recognizer.identify(voice("ann", 5)).several
        with pytest.raises(ConfigError, match="no multi-talker model ships"):
            recognizer.identify(voice("ann", 5), voices="several")
        with pytest.raises(ConfigError, match="voices is 'two'; give one of: auto, one, several"):
            recognizer.identify(voice("ann", 5), voices="two")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="no multi-talker model ships"):
            recognizer.tune("multi-talker")


@pytest.fixture(scope="module")
def family(speech: Path) -> dict[str, list[Audio]]:
    """Clips of three people of home, longest first."""
    people = sorted(path for path in (speech / "home").iterdir() if path.is_dir())[:4]
    clips = {person.name: [load(path) for path in person.iterdir()] for person in people}
    return {
        name: sorted(own, key=lambda clip: (-len(clip.samples), clip.sha256))[:5]
        for name, own in clips.items()
    }


@pytest.fixture(scope="module")
def recognizer(
    family: dict[str, list[Audio]], ge2e: GE2E, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recognizer]:
    """All but the last of them are enrolled."""
    with Recognizer(tmp_path_factory.mktemp("home") / "gallery.db", ge2e) as opened:
        for name in list(family)[:-1]:
            opened.enroll(name, family[name][2:])
        yield opened


def loud(clip: Audio, seconds: float) -> np.ndarray:
    samples = clip.samples[: round(seconds * 16_000)]
    return 0.03 * samples / np.sqrt(np.mean(samples**2))


@pytest.mark.slow
def test_two_people_in_turn_are_both_heard_when_they_talk(
    recognizer: Recognizer, family: dict[str, list[Audio]]
) -> None:
    first, second, third, _ = family
    heard, noticed = {}, 0
    for a, b in ((first, second), (second, third), (third, first)):
        clip = np.concatenate([loud(family[a][0], 4.0), loud(family[b][1], 4.0)])
        noticed += recognizer.identify(clip.astype(np.float32)).several
        decision = recognizer.identify(clip.astype(np.float32), voices="several")
        heard[a, b] = {person.name: person for person in decision.heard}
        for name, start in ((a, 0.0), (b, 4.0)):
            if name in heard[a, b]:
                times = heard[a, b][name].times
                within = sum(max(min(end, start + 4.0) - max(begin, start), 0.0) for begin, end in times)
                assert within > 0.6 * sum(end - begin for begin, end in times)
    assert noticed >= 2
    assert sum(len(set(pair) & set(found)) for pair, found in heard.items()) >= 5
    assert all(set(found) <= set(pair) for pair, found in heard.items())


@pytest.mark.slow
def test_one_voice_is_decided_as_one_and_a_stranger_beside_it_gets_no_name(
    recognizer: Recognizer, family: dict[str, list[Audio]]
) -> None:
    first, *_, stranger = family
    alone = recognizer.identify(family[first][0])
    assert (alone.name, alone.several, alone.heard) == (first, False, ())
    forced = recognizer.identify(family[first][0], voices="several")
    assert (forced.name, [person.name for person in forced.heard]) == (first, [first])
    clip = np.concatenate([loud(family[first][0], 4.0), loud(family[stranger][1], 4.0)]).astype(np.float32)
    decision = recognizer.identify(clip)
    assert decision.several
    assert decision.name == first
    assert [person.name for person in decision.heard] == [first]
    assert not recognizer.identify(clip, voices="one").several
    recognizer.forget(first)
    again = recognizer.identify(clip)
    assert first not in again.probabilities
    assert not again.accepted
    assert again.heard == ()


@pytest.mark.slow
def test_tuned_to_it_and_evaluated(
    recognizer: Recognizer, family: dict[str, list[Audio]], tmp_path: Path
) -> None:
    with_clips = recognizer.identify(next(iter(family.values()))[0], voices="several")
    assert recognizer.tune("cosine").method == "cosine"
    head = recognizer.gallery.head()
    assert head is not None
    assert head.config["talkers"] is not None  # so that no clip has to be read for a second voice
    of_head = recognizer.identify(next(iter(family.values()))[0], voices="several")
    assert of_head.probabilities == pytest.approx(with_clips.probabilities, abs=1e-6)
    report = recognizer.tune("multi-talker")
    assert report.method == "multi-talker"
    name = recognizer.gallery.people()[0].name
    decision = recognizer.identify(family[name][0])
    assert (decision.method, decision.name, decision.several) == ("multi-talker", name, False)
    assert recognizer.verify(name, family[name][1]).accepted
    assert recognizer.calibrate(far=0.02).calibration.far == 0.02
    *people, stranger = family
    rows = [
        f"{clip.source}\t{name}\t{'test' if name == stranger or take < 2 else 'enroll'}\t\t"
        for name in family
        for take, clip in enumerate(family[name][:4])
    ]
    manifest = tmp_path / "four.tsv"
    manifest.write_text("\n".join(["path\tspeaker\trole\tstart\tend", *rows]) + "\n", "utf-8")
    [result] = evaluate(manifest, ["multi-talker"], store=ClipStore(recognizer.encoder))
    assert result.scores.shape == (10, len(people))
    assert result.metrics.eer < 0.1
    assert result.method == result.chosen == "multi-talker"
