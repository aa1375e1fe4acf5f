"""A corpus embedded into a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.audio import load, measure_quality, save, silero, trim_silence
from openkith.bulk import embedding
from openkith.bulk.embedding import EmbedOptions, EncoderSpec, embed_corpus
from openkith.bulk.formats import FORMATS
from openkith.bulk.reading import read_embeddings
from openkith.encoders.clips.crops import embed_crops, mean_of_crops
from openkith.errors import (
    ConfigError,
    EncoderMismatchError,
    InputError,
    ManifestError,
    MissingDependencyError,
)

Contents = Callable[[Path], dict[str, bytes]]
Noise = Callable[..., Path]


def rows(folder: Path, name: str = "index.tsv") -> list[dict[str, str]]:
    header, *lines = (line.split("\t") for line in (folder / name).read_text("utf-8").splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def expected(path: Path, fake: Any, **options: Any) -> np.ndarray:
    """One embedding, by the plainest way."""
    clip = load(path)
    if options.get("vad") != "none":
        clip = trim_silence(clip)
    if options.get("crops"):
        return embed_crops(fake, clip, options["crops"], options.get("crop_seconds", 4.0))
    return np.asarray(fake.one(clip.samples))


def test_a_voxceleb_tree(tmp_path: Path, voxceleb: Path, fake: Any) -> None:
    summary = embed_corpus(voxceleb, tmp_path / "out", fake, batch=4, shard_rows=9)
    assert (summary.files, summary.embedded, summary.before, summary.bad) == (21, 20, 0, 1)
    assert (summary.encoder, summary.fingerprint, summary.dim) == ("fake", "fake/1", 8)
    assert summary.errors == tmp_path / "out" / "errors.tsv"
    assert summary.to_dict()["embedded"] == 20
    index = rows(tmp_path / "out")
    assert [row["utterance"] for row in index] == sorted(row["utterance"] for row in index)
    assert {row["shard"] for row in index} == {f"embeddings-0000{i}.safetensors" for i in range(3)}
    held = read_embeddings(tmp_path / "out")
    vectors = held.gather()
    for row, vector, speaker in zip(index, vectors, held.speakers, strict=True):
        path = voxceleb / row["utterance"]
        assert row["path"] == str(path)
        assert row["speaker"] == speaker == path.parts[-3]
        np.testing.assert_array_equal(vector, expected(path, fake))
        quality = measure_quality(load(path))
        assert float(row["seconds"]) == pytest.approx(quality.seconds, abs=1e-3)
        assert float(row["speech_seconds"]) == pytest.approx(quality.speech_seconds, abs=0.01)
        assert float(row["snr_db"]) == pytest.approx(quality.snr_db, abs=0.06)
        assert float(row["bandwidth_hz"]) == quality.bandwidth_hz
    [bad] = rows(tmp_path / "out", "errors.tsv")
    assert bad["path"] == str(voxceleb / "id10001" / "video1" / "00003.wav")
    assert bad["reason"].startswith("not audio that openkith can read")


@pytest.mark.parametrize("form", list(FORMATS))
def test_every_format_is_read_back(tmp_path: Path, voxceleb: Path, fake: Any, form: str) -> None:
    embed_corpus(voxceleb, tmp_path / "out", fake, EmbedOptions(format=form), batch=4, shard_rows=9)
    held = read_embeddings(tmp_path / "out")
    assert len(held) == 20
    for utterance, vector in zip(held.utterances, held.gather(), strict=True):
        np.testing.assert_array_equal(vector, expected(voxceleb / utterance, fake))


@pytest.mark.parametrize("form", ["safetensors", "npy-tree", ""])
def test_crops(tmp_path: Path, noise: Noise, fake: Any, form: str) -> None:
    path = noise(tmp_path / "c" / "ann" / "1.wav", 1, seconds=1.3)
    options = {"crops": 3, "crop_seconds": 0.5, "vad": "none"}
    embed_corpus(tmp_path / "c", tmp_path / "out", fake, EmbedOptions(format=form, **options))
    crops = expected(path, fake, **options)
    assert crops.shape == (3, 8)
    if form != "safetensors":
        np.testing.assert_array_equal(np.load(tmp_path / "out" / "ann" / "1.npy"), crops)
    np.testing.assert_allclose(read_embeddings(tmp_path / "out").gather()[0], mean_of_crops(crops), rtol=1e-6)


def test_silence(tmp_path: Path, record: Callable[..., Path], fake: Any) -> None:
    """Only speech is embedded unless the clip is wanted as it is."""
    path = record(0, 0, tmp_path / "c" / "ann" / "1.wav")
    quiet = load(path).samples.copy()
    quiet[:16_000] *= 1e-4
    save(path, quiet)
    for vad in ("webrtc", "none"):
        out = tmp_path / vad
        embed_corpus(tmp_path / "c", out, fake, EmbedOptions(vad=vad))
        found = read_embeddings(out).gather()[0]
        np.testing.assert_array_equal(found, expected(path, fake, vad=vad))
    assert not np.allclose(expected(path, fake), expected(path, fake, vad="none"))


def test_a_detector_that_cannot_be_had(
    tmp_path: Path, voxceleb: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found missing before the first file, and not with every file."""

    def missing(*_: object) -> Any:
        raise MissingDependencyError("pip install it")

    monkeypatch.setattr(silero, "speech_probabilities", missing)
    with pytest.raises(MissingDependencyError, match="pip install it"):
        embed_corpus(voxceleb, tmp_path / "out", fake, EmbedOptions(vad="silero"))
    assert not (tmp_path / "out").exists()


def test_without_quality(tmp_path: Path, voxceleb: Path, fake: Any) -> None:
    embed_corpus(voxceleb, tmp_path / "out", fake, EmbedOptions(quality=False))
    row = rows(tmp_path / "out")[0]
    assert (row["snr_db"], row["clipped"], row["bandwidth_hz"]) == ("", "", "")
    quality = measure_quality(load(voxceleb / row["utterance"]))
    assert (float(row["seconds"]), float(row["speech_seconds"])) == (quality.seconds, quality.speech_seconds)


def test_a_second_run_embeds_what_is_new(
    tmp_path: Path, noise: Noise, make_fake: Any, contents: Contents
) -> None:
    corpus, out = tmp_path / "c", tmp_path / "out"
    for clip in range(3):
        noise(corpus / "ann" / f"{clip}.wav", clip)
    first = make_fake()
    embed_corpus(corpus, out, first)
    assert first.heard == ["0.wav", "1.wav", "2.wav"]
    before = contents(out)
    again = make_fake()
    summary = embed_corpus(corpus, out, again)
    assert (again.heard, summary.before, summary.embedded) == ([], 3, 3)
    assert contents(out) == before
    noise(corpus / "ann" / "00.wav", 7)
    embed_corpus(corpus, out, again)
    assert again.heard == ["00.wav"]
    assert [row["utterance"] for row in rows(out)] == [f"ann/{name}.wav" for name in ("0", "1", "2", "00")]


def test_errors_are_not_tried_again_unless_asked_for(tmp_path: Path, noise: Noise, make_fake: Any) -> None:
    corpus, out = tmp_path / "c", tmp_path / "out"
    noise(corpus / "ann" / "0.wav", 0)
    bad = corpus / "ann" / "1.wav"
    bad.write_bytes(b"")
    assert embed_corpus(corpus, out, make_fake()).bad == 1
    noise(bad, 1)
    assert embed_corpus(corpus, out, make_fake()).bad == 1
    again = make_fake()
    summary = embed_corpus(corpus, out, again, retry=True)
    assert (again.heard, summary.bad, summary.embedded, summary.errors) == (["1.wav"], 0, 2, None)
    assert rows(out, "errors.tsv") == []


def test_a_manifest_with_a_file_that_is_missing(tmp_path: Path, noise: Noise, fake: Any) -> None:
    noise(tmp_path / "a.wav", 0, seconds=1.0)
    path = tmp_path / "m.tsv"
    path.write_text("path\tspeaker\trole\tstart\tend\na.wav\tann\ttest\t0\t0.5\nb.wav\tben\ttest\t\t\n")
    summary = embed_corpus(path, tmp_path / "out", fake)
    assert (summary.embedded, summary.bad) == (1, 1)
    assert rows(tmp_path / "out")[0]["utterance"] == "a.wav#0.0-0.5"
    assert float(rows(tmp_path / "out")[0]["seconds"]) == 0.5
    assert rows(tmp_path / "out", "errors.tsv")[0]["reason"] == "no such file; check the path"


def test_not_one_file(tmp_path: Path, fake: Any) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.wav").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of 1 files could be embedded; .*errors.tsv says why"):
        embed_corpus(tmp_path / "c", tmp_path / "out", fake)
    assert "empty file" in rows(tmp_path / "out", "errors.tsv")[0]["reason"]


def test_progress(tmp_path: Path, voxceleb: Path, fake: Any) -> None:
    steps: list[tuple[str, int, int]] = []
    embed_corpus(voxceleb, tmp_path / "out", fake, batch=8, progress=lambda *step: steps.append(step))
    texts = [text for text, _, _ in steps]
    assert texts[:3] == ["listing files", "loading the encoder", "embedding"]
    assert [(done, total) for _, done, total in steps[2:]] == [(0, 21), (8, 21), (16, 21), (21, 21)]
    assert all("files/s, " in text and text.endswith(" left") for text in texts[3:])
    assert texts[-1].endswith("0:00 left")


@pytest.mark.parametrize(
    ("seconds", "clock"), [(7, "0:07"), (750, "12:30"), (3723, "1:02:03"), (360_000, "100:00:00")]
)
def test_clock(seconds: int, clock: str) -> None:
    assert embedding._clock(seconds) == clock


def test_another_encoder_or_other_options(tmp_path: Path, voxceleb: Path, make_fake: Any) -> None:
    embed_corpus(voxceleb, tmp_path / "out", make_fake())
    with pytest.raises(EncoderMismatchError, match="holds embeddings of fake"):
        embed_corpus(voxceleb, tmp_path / "out", make_fake("fake/2"))
    with pytest.raises(ConfigError, match="was begun with crops None, and this run has 10"):
        embed_corpus(voxceleb, tmp_path / "out", EncoderSpec("no-such-encoder"), EmbedOptions(crops=10))


def test_wrong_arguments(tmp_path: Path, voxceleb: Path, fake: Any) -> None:
    for name in ("workers", "batch", "shard_rows"):
        with pytest.raises(ConfigError, match=f"{name} is 0; give 1 or more"):
            embed_corpus(voxceleb, tmp_path / "out", fake, **{name: 0})
    with pytest.raises(ConfigError, match="give an EncoderSpec, or workers=1"):
        embed_corpus(voxceleb, tmp_path / "out", fake, workers=2)
    with pytest.raises(ConfigError, match="format is 'hdf5'"):
        EmbedOptions(format="hdf5")
    with pytest.raises(ConfigError, match="vad is 'ears'; give one of: webrtc, silero, none"):
        EmbedOptions(vad="ears")
    with pytest.raises(ConfigError, match="crops is 0"):
        EmbedOptions(crops=0)
    with pytest.raises(ConfigError, match="crop_seconds is 0"):
        EmbedOptions(crops=3, crop_seconds=0.0)
    with pytest.raises(ManifestError, match="no audio"):
        embed_corpus(tmp_path, tmp_path / "out", fake)
    assert not (tmp_path / "out").exists()
