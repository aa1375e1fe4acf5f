"""What is embedded of a recording: itself, its copies, its halves."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openkith.audio import Audio, measure_quality, trim_silence
from openkith.audio.augment import CONDITIONS, GROUPS, make_copies
from openkith.encoders.clips.copies import COPY_CONDITIONS, COPY_GROUPS, copy_groups, embed_with_copies
from openkith.errors import GalleryError

sys.path.insert(0, str(Path(__file__).parents[2]))
from voices import FakeEncoder, TwoViews, voice

M = len(COPY_CONDITIONS)


def padded(audio: Audio, seconds: float = 1.0) -> Audio:
    """With silence around it."""
    silence = np.zeros(round(seconds * audio.sample_rate), np.float32)
    return replace(audio, samples=np.concatenate([silence, audio.samples, silence]))


def test_every_condition_but_clean_is_a_copy() -> None:
    assert set(COPY_CONDITIONS) == set(CONDITIONS) - {"clean"}
    assert [GROUPS[group] for group in COPY_GROUPS] == [CONDITIONS[name].group for name in COPY_CONDITIONS]
    assert (copy_groups(M) == COPY_GROUPS).all()
    assert len(copy_groups(0)) == 0
    with pytest.raises(GalleryError, match=f"1 degraded copies where this version makes {M}"):
        copy_groups(1)


def test_what_is_embedded() -> None:
    recording = padded(voice("ann"))
    encoder = FakeEncoder()
    [clip] = embed_with_copies(encoder, [recording])
    speech = trim_silence(recording)
    assert speech.seconds < recording.seconds - 1.0
    assert encoder.embedded == 1 + M + 2
    assert (clip.embedding == encoder.embed([speech])[0]).all()
    copies = make_copies(speech.samples, COPY_CONDITIONS, int(speech.sha256[:12], 16))
    expected = encoder.embed([trim_silence(replace(speech, samples=copy)) for copy in copies])
    assert clip.copies.dtype == np.float16
    assert (clip.copies == expected.astype(np.float16)[:, None]).all()
    middle = len(speech.samples) // 2
    parts = [replace(speech, samples=part) for part in (speech.samples[:middle], speech.samples[middle:])]
    assert (clip.halves == encoder.embed(parts)[:, None]).all()
    assert clip.speech_seconds == speech.seconds
    assert clip.quality == measure_quality(recording)
    arrays = clip.arrays()
    assert {key: array.shape for key, array in arrays.items()} == {
        **{"embedding": (32,), "views": (1, 32), "copies": (M, 1, 32), "halves": (2, 1, 32)},
    }


def test_every_part_is_seen_in_all_views() -> None:
    recording = padded(voice("ann"))
    encoder = TwoViews()
    [clip] = embed_with_copies(encoder, [recording])
    [plain] = embed_with_copies(FakeEncoder(), [recording])
    assert encoder.embedded == 2 * (1 + M + 2)
    arrays = clip.arrays()
    assert {key: array.shape for key, array in arrays.items()} == {
        **{"embedding": (32,), "views": (2, 32), "copies": (M, 2, 32), "halves": (2, 2, 32)},
    }
    assert {key: array.dtype for key, array in arrays.items()} == {
        **{"embedding": np.float32, "views": np.float32, "copies": np.float16, "halves": np.float16},
    }
    np.testing.assert_array_equal(clip.embedding, plain.embedding)
    for name in ("views", "copies", "halves"):
        np.testing.assert_array_equal(getattr(clip, name)[..., 0, :], getattr(plain, name)[..., 0, :])
    speech = trim_silence(recording)
    np.testing.assert_array_equal(clip.views, encoder.embed_views([speech])[0])
    middle = len(speech.samples) // 2
    parts = [replace(speech, samples=part) for part in (speech.samples[:middle], speech.samples[middle:])]
    np.testing.assert_array_equal(clip.halves, encoder.embed_views(parts))
    [alone] = embed_with_copies(encoder, [recording], copies=False)
    np.testing.assert_array_equal(alone.views, clip.views)
    assert alone.copies.shape == alone.halves.shape == (0, 2, 32)


def test_copies_depend_on_the_clip_alone() -> None:
    clips = [voice("ann"), voice("bob"), *(voice("cat", take) for take in range(8))]  # more than a batch
    together = embed_with_copies(FakeEncoder(), clips)
    for clip, others in zip(reversed(clips), reversed(together), strict=True):
        [alone] = embed_with_copies(FakeEncoder(), [clip])
        for key, array in alone.arrays().items():
            np.testing.assert_allclose(array, others.arrays()[key], atol=1e-6)


def test_different_clips_have_different_noise() -> None:
    first, second = (voice("ann", take) for take in range(2))
    noisy = [make_copies(x.samples, ["white"], int(x.sha256[:12], 16))[0][:9000] for x in (first, second)]
    a, b = (copy - clip.samples[:9000] for copy, clip in zip(noisy, (first, second), strict=True))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.5


@pytest.mark.parametrize(("seconds", "halves"), [(1.59, 0), (1.61, 2)])
def test_halves_need_speech_enough(seconds: float, halves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openkith.encoders.clips.copies.trim_silence", lambda audio: audio)
    [clip] = embed_with_copies(FakeEncoder(), [voice("ann", seconds=seconds)])
    assert clip.halves.shape == (halves, 1, 32)
    assert clip.copies.shape == (M, 1, 32)


def test_without_copies_the_clip_alone_is_embedded() -> None:
    encoder = FakeEncoder()
    [plain] = embed_with_copies(encoder, [voice("ann")], copies=False)
    assert encoder.embedded == 1
    [full] = embed_with_copies(encoder, [voice("ann")])
    np.testing.assert_allclose(plain.embedding, full.embedding, atol=1e-6)
    assert plain.copies.shape == plain.halves.shape == (0, 1, 32)
    assert (plain.quality, plain.speech_seconds) == (full.quality, full.speech_seconds)


def test_a_very_short_clip_has_finite_copies() -> None:
    [clip] = embed_with_copies(FakeEncoder(), [voice("ann", seconds=0.15)])
    assert np.isfinite(clip.copies).all()
    assert len(clip.halves) == 0
    assert clip.speech_seconds == pytest.approx(0.15)


def test_a_stretch_of_digital_silence_has_finite_copies() -> None:
    silence = Audio(np.zeros(32000, np.float32), "silence")
    [clip] = embed_with_copies(FakeEncoder(), [silence])
    assert all(np.isfinite(array).all() for array in clip.arrays().values())


def test_progress_counts_clips() -> None:
    steps: list[tuple[int, int]] = []
    embed_with_copies(
        FakeEncoder(),
        [voice("ann", i) for i in range(11)],
        copies=False,
        progress=lambda *step: steps.append(step),
    )
    assert steps[-1] == (11, 11)
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})


def test_no_clips() -> None:
    assert embed_with_copies(FakeEncoder(), []) == []


def test_arrays_do_not_keep_the_batch_alive() -> None:
    for clip in embed_with_copies(FakeEncoder(), [voice("ann"), voice("bob")]):
        assert all(
            array.base is None or array.base.nbytes == array.nbytes for array in clip.arrays().values()
        )
