"""The scorer: probabilities and log odds, its folder, audio by its own encoders or by another's."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openkith.audio import Audio
from openkith.errors import ConfigError, EncoderMismatchError, InputError, WeightsError
from openkith.neural_scoring import NetworkConfig, NeuralScorer, ScoringNetwork, WholeNetwork, load_scorer
from openkith.neural_scoring import scorer as scorer_module

SMALL = NetworkConfig(
    enrolment_dim=7, frame_dim=11, width=24, heads=3, layers=2, feed_forward=20, most_frames=40
)


class FakeEncoder:
    """Embeddings and frames that are functions of the samples."""

    name = "fake"
    sample_rate = 16_000

    def __init__(self, dim: int = 7, fingerprint: str = "fake/1") -> None:
        self.dim = dim
        self.fingerprint = fingerprint

    def embed(self, clips: Sequence[Audio]) -> Any:
        x = np.array([np.resize(clip.samples, self.dim) for clip in clips], np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def embed_windows(self, clip: Audio) -> Any:
        raise NotImplementedError

    def frames(self, clip: Audio) -> Any:
        frames = np.lib.stride_tricks.sliding_window_view(clip.samples, 11)[::160].copy()
        return frames, np.arange(len(frames)) * 0.01


def sound(seconds: float, seed: int = 0) -> Audio:
    return Audio(
        np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32), "<array>"
    )


def inputs(e: int, t: int, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((e, 7)).astype(np.float32), rng.standard_normal((t, 11)).astype(np.float32)


def network(seed: int = 0) -> ScoringNetwork:
    torch.manual_seed(seed)
    return ScoringNetwork(SMALL)


@pytest.fixture
def small() -> NeuralScorer:
    return NeuralScorer(network(), device="cpu")


@pytest.fixture(scope="module")
def whole() -> NeuralScorer:
    torch.manual_seed(0)
    return NeuralScorer(WholeNetwork(), device="cpu", threads=1)


class TestScore:
    def test_by_definition(self, small: NeuralScorer, definition: Callable[..., Any]) -> None:
        enrolments, frames = inputs(5, 9)
        expected = definition(small.network.state_dict(), enrolments, frames, 3)
        odds, found = small.log_odds(enrolments, frames), small.score(enrolments, frames)
        np.testing.assert_allclose(odds, expected, atol=1e-5)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-odds)), rtol=1e-12)
        assert odds.dtype == found.dtype == np.float64
        assert odds.shape == found.shape == (5,)

    def test_one_enrolment_or_200(self, small: NeuralScorer, monkeypatch: pytest.MonkeyPatch) -> None:
        enrolments, frames = inputs(200, 30)
        together = small.score(enrolments, frames)
        alone = np.concatenate([small.score(enrolments[i : i + 1], frames) for i in range(200)])
        np.testing.assert_allclose(alone, together, atol=1e-6)
        monkeypatch.setattr(scorer_module, "_MOST_ENROLMENTS", 7)
        np.testing.assert_allclose(small.score(enrolments, frames), together, atol=1e-6)
        assert np.ptp(together) > 0.01

    def test_nobody(self, small: NeuralScorer) -> None:
        _, frames = inputs(1, 3)
        assert small.score(np.zeros((0, 7)), frames).shape == (0,)

    def test_what_is_too_long_is_cut(self, small: NeuralScorer) -> None:
        enrolments, frames = inputs(3, 60)
        np.testing.assert_array_equal(
            small.log_odds(enrolments, frames), small.log_odds(enrolments, frames[:40])
        )
        assert np.abs(small.log_odds(enrolments, frames[:39]) - small.log_odds(enrolments, frames)).max() > 0

    def test_certainty_keeps_its_order(self, small: NeuralScorer) -> None:
        with torch.no_grad():
            small.network.mlp[4].weight *= 1e4
        odds = small.log_odds(*inputs(6, 5))
        assert len(set(odds)) == 6
        assert np.abs(odds).max() > 50

    def test_refused(self, small: NeuralScorer) -> None:
        enrolments, frames = inputs(2, 4)
        with pytest.raises(InputError, match=r"enrolments have shape \(2, 6\); give \(n, 7\)"):
            small.score(enrolments[:, :6], frames)
        with pytest.raises(InputError, match=r"frames have shape \(11,\); give \(n, 11\)"):
            small.score(enrolments, frames[0])
        with pytest.raises(InputError, match="frames have no rows"):
            small.score(enrolments, frames[:0])
        enrolments[1, 2] = np.nan
        with pytest.raises(InputError, match="enrolments have a value that is not finite"):
            small.score(enrolments, frames)

    def test_scores_in_evaluation_mode_and_leaves_gradients_as_they_are(self) -> None:
        trained = network().train()
        scorer = NeuralScorer(trained, device="cpu")
        enrolments, frames = inputs(3, 4)
        np.testing.assert_array_equal(scorer.score(enrolments, frames), scorer.score(enrolments, frames))
        assert all(parameter.requires_grad for parameter in trained.parameters())


class TestAudio:
    def test_with_an_encoder(self) -> None:
        scorer = NeuralScorer(network(), encoder=FakeEncoder(), device="cpu")
        clips, probe = [sound(0.2, 1), sound(0.2, 2)], sound(0.3, 3)
        enrolments = scorer.enrol(clips)
        frames = scorer.frames(probe)
        np.testing.assert_array_equal(enrolments, FakeEncoder().embed(clips))
        np.testing.assert_array_equal(frames, FakeEncoder().frames(probe)[0])
        np.testing.assert_array_equal(scorer.score_clip(enrolments, probe), scorer.score(enrolments, frames))
        assert scorer.frames(sound(2.0)).shape == (40, 11)

    def test_without(self, small: NeuralScorer) -> None:
        for use in (lambda: small.enrol([sound(0.2)]), lambda: small.frames(sound(0.2))):
            with pytest.raises(InputError, match="this scorer has no encoder"):
                use()

    def test_of_another_length(self) -> None:
        with pytest.raises(ConfigError, match="encoder fake gives embeddings of 5, this network takes 7"):
            NeuralScorer(network(), encoder=FakeEncoder(dim=5))

    def test_own_encoders(self, whole: NeuralScorer) -> None:
        clips = [sound(1.0, 1), sound(0.7, 2)]
        enrolments = whole.enrol(clips)
        assert enrolments.shape == (2, 256)
        np.testing.assert_allclose(enrolments[1], whole.enrol(clips[1:])[0], atol=1e-5)
        frames = whole.frames(sound(1.0, 3))
        assert frames.shape == (13, 2560)  # 101 frames of features, one of eight, rounded up
        scores = whole.score_clip(enrolments, sound(1.0, 3))
        np.testing.assert_array_equal(scores, whole.score(enrolments, frames))
        assert ((scores > 0) & (scores < 1)).all()
        assert whole.enrol([]).shape == (0, 256)

    def test_short_clips(self, whole: NeuralScorer) -> None:
        assert np.isfinite(whole.enrol([sound(0.02)])).all()
        assert whole.frames(sound(0.02)).shape == (2, 2560)

    def test_audio_is_cut_before_its_features_are_normalised(self) -> None:
        """Loud noise behind the cut changes nothing; 39.9 s is too long for a test, so a shorter limit is used."""
        torch.manual_seed(0)
        scorer = NeuralScorer(WholeNetwork(NetworkConfig(most_frames=10)), device="cpu")
        clip = sound(9 * 0.08 + 0.015, 1)
        frames = scorer.frames(clip)
        assert frames.shape == (10, 2560)
        longer = Audio(np.concatenate([clip.samples, 9 * sound(1.0, 2).samples]), "<array>")
        np.testing.assert_array_equal(scorer.frames(longer), frames)

    def test_long_clips_in_pieces(self, whole: NeuralScorer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scorer_module, "WHOLE_SECONDS", 1.0)
        monkeypatch.setattr(scorer_module, "PIECE_SECONDS", 0.5)
        clip = sound(1.2, 5)
        pieces = [Audio(samples, "<array>") for samples in np.array_split(clip.samples, 3)]
        np.testing.assert_allclose(whole.enrol([clip])[0], whole.enrol(pieces).mean(0), atol=1e-5)

    def test_one_encoder_is_enough(self) -> None:
        with pytest.raises(ConfigError, match="has its own"):
            NeuralScorer(WholeNetwork(), encoder=FakeEncoder(dim=256))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_scores_of_the_processor(whole: NeuralScorer, tmp_path: Path) -> None:
    whole.save(tmp_path / "scorer")
    there = load_scorer(tmp_path / "scorer", device="cuda")
    clips, probe = [sound(1.0, 1), sound(0.7, 2)], sound(1.0, 3)
    enrolments, frames = whole.enrol(clips), whole.frames(probe)
    np.testing.assert_allclose(there.enrol(clips), enrolments, atol=1e-4 * np.abs(enrolments).max())
    np.testing.assert_allclose(there.frames(probe), frames, atol=1e-4 * np.abs(frames).max())
    np.testing.assert_allclose(
        there.log_odds(enrolments, frames), whole.log_odds(enrolments, frames), atol=1e-4
    )


class TestFolder:
    def test_the_same_scores_bit_by_bit(self, small: NeuralScorer, tmp_path: Path) -> None:
        folder = tmp_path / "deep" / "scorer"
        small.save(folder)
        loaded = load_scorer(folder, device="cpu")
        enrolments, frames = inputs(4, 6)
        np.testing.assert_array_equal(loaded.log_odds(enrolments, frames), small.log_odds(enrolments, frames))
        assert loaded.config == SMALL
        assert loaded.fingerprint == small.fingerprint
        assert sorted(path.name for path in folder.parent.iterdir()) == ["scorer"]
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "scorer.safetensors"]

    def test_encoders_go_along(self, whole: NeuralScorer, tmp_path: Path) -> None:
        whole.save(tmp_path / "scorer")
        loaded = load_scorer(tmp_path / "scorer", device="cpu", threads=1)
        clip = sound(0.8, 1)
        np.testing.assert_array_equal(loaded.enrol([clip]), whole.enrol([clip]))
        np.testing.assert_array_equal(loaded.frames(clip), whole.frames(clip))
        # Its tensors have NS-SV's names, so they are a checkpoint, too.
        alone = load_scorer(tmp_path / "scorer" / "scorer.safetensors", device="cpu")
        assert alone.fingerprint == whole.fingerprint

    def test_an_earlier_scorer_is_replaced(self, small: NeuralScorer, tmp_path: Path) -> None:
        small.save(tmp_path / "scorer")
        other = NeuralScorer(network(seed=1), device="cpu")
        other.save(tmp_path / "scorer")
        assert (
            load_scorer(tmp_path / "scorer", device="cpu").fingerprint
            == other.fingerprint
            != small.fingerprint
        )
        assert [path.name for path in tmp_path.iterdir()] == ["scorer"]

    def test_something_else_stays(self, small: NeuralScorer, tmp_path: Path) -> None:
        (tmp_path / "scorer").mkdir()
        (tmp_path / "scorer" / "thesis.txt").write_text("years of work", encoding="utf-8")
        with pytest.raises(InputError, match="there is something else"):
            small.save(tmp_path / "scorer")
        assert [path.name for path in (tmp_path / "scorer").iterdir()] == ["thesis.txt"]

    def test_nothing_half_written(
        self, small: NeuralScorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        small.save(tmp_path / "scorer")
        real = Path.replace

        def fails(self: Path, target: Path) -> Path:
            if self.name == "new":
                raise OSError(28, "No space left on device")
            return real(self, target)

        monkeypatch.setattr(Path, "replace", fails)
        with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
            NeuralScorer(network(seed=1), device="cpu").save(tmp_path / "scorer")
        assert load_scorer(tmp_path / "scorer", device="cpu").fingerprint == small.fingerprint
        assert [path.name for path in tmp_path.iterdir()] == ["scorer"]

    def test_the_encoder_is_known(self, tmp_path: Path) -> None:
        NeuralScorer(network(), encoder=FakeEncoder(), device="cpu").save(tmp_path / "scorer")
        scorer = load_scorer(tmp_path / "scorer", encoder=FakeEncoder(), device="cpu")
        assert scorer.enrol([sound(0.1)]).shape == (1, 7)
        with pytest.raises(EncoderMismatchError, match="trained on encoder fake/1, not on fake/2"):
            load_scorer(tmp_path / "scorer", encoder=FakeEncoder(fingerprint="fake/2"))
        without = load_scorer(tmp_path / "scorer", device="cpu")
        with pytest.raises(InputError, match="load it with the encoder fake/1"):
            without.enrol([sound(0.1)])
        without.save(tmp_path / "again")
        assert load_scorer(tmp_path / "again", device="cpu").encoder_fingerprint == "fake/1"

    @pytest.mark.parametrize(
        "damage", ["no weights", "no json", "unknown size", "other size", "format", "kind"]
    )
    def test_damage_is_one_line(self, damage: str, small: NeuralScorer, tmp_path: Path) -> None:
        folder = tmp_path / "scorer"
        small.save(folder)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if damage == "no weights":
            (folder / "scorer.safetensors").unlink()
        elif damage == "no json":
            (folder / "config.json").write_text("{", "utf-8")
        else:
            changes: dict[str, Any] = {
                "unknown size": {"network": config["network"] | {"depth": 3}},
                "other size": {"network": config["network"] | {"width": 36}},
                "format": {"format": 99},
                "kind": {"kind": "embedder"},
            }
            (folder / "config.json").write_text(json.dumps(config | changes[damage]), "utf-8")
        with pytest.raises(WeightsError) as caught:
            load_scorer(folder)
        assert "\n" not in str(caught.value)
        assert str(folder) in str(caught.value)

    def test_options_are_checked(self) -> None:
        with pytest.raises(ConfigError, match="threads is 0"):
            NeuralScorer(network(), threads=0)
        with pytest.raises(ConfigError, match="device is 'abacus'"):
            NeuralScorer(network(), device="abacus")
