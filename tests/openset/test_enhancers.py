"""An enhancer before the scorers: chosen on held-out clips, kept with the head, one for all embeddings."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import openkith.openset.enhancers
import openkith.recognizer.roster
from openkith.enhancement import Enhancer, NetSpec
from openkith.errors import ConfigError, EncoderMismatchError, GalleryError, InputError
from openkith.evaluation import ClipStore, evaluate
from openkith.openset.enhancers import candidate_enhancers, pack_enhancer
from openkith.openset.heads import add_strangers, pack_model, unpack_model
from openkith.openset.model import METHODS, fit_open_set
from openkith.recognizer import Recognizer
from openkith.scoring import AsNorm, Cosine, EmbeddingSet

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, same_decision, voice, write_voice

DIM, VOICE = 24, 12  # numbers, of which so many are the voice and the others noise


def linear(weight: NDArray[np.float64], encoder: str = "") -> Enhancer:
    """A residual network whose branch is nothing: a matrix."""
    d = len(weight)
    arrays = {
        "linear.weight": weight,
        "linear.bias": np.zeros(d),
        "hidden.weight": np.zeros((2 * d, d)),
        "hidden.bias": np.zeros(2 * d),
        "last.weight": np.zeros((d, 2 * d)),
        "last.bias": np.zeros(d),
    }
    return Enhancer(arrays, NetSpec("residual", d), encoder=encoder)


def keeps_the_voice(keep: float = 1.0, noise: float = 0.05) -> Enhancer:
    return linear(np.diag(np.repeat([keep, noise], [VOICE, DIM - VOICE])))


def clips(people: int, seed: int, n: int = 4) -> EmbeddingSet:
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((people, DIM)) * (np.arange(DIM) < VOICE)
    noise = rng.standard_normal((people * n, DIM)) * np.where(np.arange(DIM) < VOICE, 0.4, 1.5)
    return EmbeddingSet.plain(own.repeat(n, axis=0) + noise, np.arange(people).repeat(n))


@pytest.mark.parametrize("method", ["cosine", "as-norm"])
def test_the_better_one_on_held_out_clips_is_taken(method: str) -> None:
    enrolment, cohort, probes = clips(5, 0), clips(30, 1), clips(5, 0, n=2)
    good, bad = keeps_the_voice(), keeps_the_voice(0.05, 1.0)
    model = fit_open_set(method, enrolment, cohort, enhancers=(None, good))
    assert model.enhancer is good
    assert (model.method, model.label) == (method, f"{method}+enhancer")
    assert list(model.errors) == [method, f"{method}+enhancer"]
    alone = fit_open_set(method, enrolment, cohort, enhancers=(None, bad))
    assert alone.enhancer is None
    assert alone.llrs(probes.embeddings) == pytest.approx(
        fit_open_set(method, enrolment, cohort).llrs(probes.embeddings)
    )


def test_everything_goes_through_it() -> None:
    enrolment, cohort, probes, good = clips(4, 0), clips(30, 1), clips(3, 2), keeps_the_voice()

    def through(items: EmbeddingSet) -> EmbeddingSet:
        return EmbeddingSet.plain(good.transform(items.embeddings), items.labels)

    model = fit_open_set("as-norm", enrolment, cohort, enhancers=(good,))
    by_hand = fit_open_set("as-norm", through(enrolment), through(cohort))
    expected = by_hand.llrs(good.transform(probes.embeddings))
    assert model.llrs(probes.embeddings) == pytest.approx(expected, abs=1e-5)
    more = add_strangers(model, probes)
    assert more.calibration == add_strangers(by_hand, through(probes)).calibration


def test_auto_takes_it_where_the_tuned_head_gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "fusion", lambda _n, _seed, _members: AsNorm())
    enrolment, cohort, good = clips(5, 0), clips(30, 1), keeps_the_voice()
    model = fit_open_set("auto", enrolment, cohort, enhancers=(None, good))
    assert list(model.errors) == ["cosine", "as-norm", "fusion", "fusion+enhancer"]
    assert (model.method, model.enhancer) == ("fusion", good)
    monkeypatch.setitem(METHODS, "fusion", lambda _n, _seed, _members: Backwards())
    model = fit_open_set("auto", enrolment, cohort, enhancers=(None, good))
    assert (model.method, model.enhancer) == ("as-norm", None)


class Backwards(Cosine):
    """The less alike, the likelier."""

    def score(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        return -super().score(embeddings)


def test_a_head_keeps_its_own() -> None:
    good = keeps_the_voice()
    model = fit_open_set("as-norm", clips(4, 0), clips(30, 1), enhancers=(good,))
    config, arrays = pack_model(model, {})
    again = unpack_model(config, arrays, None)
    probes = clips(3, 2).embeddings
    assert again.enhancer is not None
    assert again.enhancer.fingerprint == good.fingerprint == config["enhancer"]["fingerprint"]
    assert again.llrs(probes) == pytest.approx(model.llrs(probes), abs=1e-4)
    changed = {**arrays, "enhancer/net.linear.weight": 2 * arrays["enhancer/net.linear.weight"]}
    with pytest.raises(GalleryError, match=r"not the one that it was tuned with.*kith tune"):
        unpack_model(config, changed, None)
    del config["enhancer"]  # a head of an earlier version has none
    assert unpack_model(config, arrays, None).enhancer is None


def test_what_can_be_chosen(tmp_path: Path) -> None:
    encoder = FakeEncoder(dim=DIM)
    own = linear(np.eye(DIM), encoder.fingerprint)
    own.save(tmp_path / "own")
    assert candidate_enhancers("off", encoder) == candidate_enhancers("auto", encoder) == (None,)
    assert candidate_enhancers(own, encoder) == (own,)
    [read] = candidate_enhancers(tmp_path / "own", encoder)
    assert read is not None
    assert read.fingerprint == own.fingerprint
    with pytest.raises(ConfigError, match="no enhancer ships for the encoder 'fake'"):
        candidate_enhancers("shipped", encoder)
    with pytest.raises(InputError, match="nowhere: not an enhancer"):
        candidate_enhancers("nowhere", encoder)
    with pytest.raises(EncoderMismatchError, match="fake/2"):
        candidate_enhancers(own, FakeEncoder("fake/2", dim=DIM))
    assert pack_enhancer(own)[0]["fingerprint"] == own.fingerprint


def test_the_one_that_ships_is_tried_beside_none_or_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own = linear(np.eye(DIM))
    monkeypatch.setattr(openkith.openset.enhancers, "shipped_enhancer", lambda _encoder: own)
    assert candidate_enhancers("auto", FakeEncoder(dim=DIM)) == (None, own)
    assert candidate_enhancers("shipped", FakeEncoder(dim=DIM)) == (own,)
    assert candidate_enhancers("off", FakeEncoder(dim=DIM)) == (None,)


def test_through_the_recogniser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", fake_cohort)
    path, encoder = tmp_path / "gallery.db", FakeEncoder()
    tilt = linear(np.diag(np.linspace(0.5, 1.5, encoder.dim)), encoder.fingerprint)
    with Recognizer(path, encoder, enhancer=tilt) as recognizer:
        for who in ("ann", "bob"):
            recognizer.enroll(who, [voice(who, take) for take in range(3)])
        before = recognizer.identify(voice("ann", 7))
        report = recognizer.tune("as-norm")
        assert report.enhancer == tilt.fingerprint
        assert "as-norm+enhancer, as asked" in report.kept
        decision = recognizer.identify(voice("ann", 7))
        assert decision.score == pytest.approx(before.score, abs=1e-3)
    with Recognizer(path, encoder, enhancer=tmp_path / "gone") as elsewhere:
        same_decision(elsewhere.identify(voice("ann", 7)), decision)
        elsewhere.enroll("cat", [voice("cat", 0)])
        with pytest.raises(InputError, match="gone: not an enhancer"):
            elsewhere.identify(voice("ann", 7))
        elsewhere.forget("cat")
    with Recognizer(path, encoder, enhancer=tilt) as recognizer:
        decision = recognizer.identify(voice("ann", 7))
        recognizer.tune("as-norm")
    with Recognizer(path, encoder) as again:
        same_decision(again.identify(voice("ann", 7)), decision)
        head = again.gallery.head()
        assert head is not None
        assert head.config["enhancer"]["fingerprint"] == tilt.fingerprint
        off = again.tune("as-norm")
        assert off.enhancer is None
        assert again.identify(voice("ann", 7)).score != pytest.approx(decision.score, abs=1e-3)
        assert again.tune("as-norm", enhancer=tilt).enhancer == tilt.fingerprint


def test_through_the_evaluation(tmp_path: Path) -> None:
    lines = ["path\tspeaker\trole\tstart\tend"]
    for who in ("ann", "bob", "cat"):
        for take in range(4):
            role = "test" if who == "cat" or take > 2 else "enroll"
            lines.append(f"{write_voice(tmp_path, who, take).name}\t{who}\t{role}\t\t")
    manifest = tmp_path / "set.tsv"
    manifest.write_text("\n".join(lines) + "\n", "utf-8")
    encoder = FakeEncoder()
    tilt = linear(np.diag(np.linspace(0.5, 1.5, encoder.dim)), encoder.fingerprint)
    [raw] = evaluate(manifest, ["cosine"], store=ClipStore(encoder))
    [enhanced] = evaluate(manifest, ["cosine"], store=ClipStore(encoder), enhancer=tilt)
    assert (raw.chosen, enhanced.chosen) == ("cosine", "cosine+enhancer")
    assert not np.allclose(raw.scores, enhanced.scores, atol=1e-3)
