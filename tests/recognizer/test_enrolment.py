"""Sets from stored arrays, cohesion and advice."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from openkith.audio import trim_silence
from openkith.encoders.clips.copies import COPY_CONDITIONS, COPY_GROUPS, embed_with_copies
from openkith.encoders.clips.views import embed_views, view_names
from openkith.errors import GalleryError
from openkith.recognizer.enrolment import EnrolmentReport, advise, cohesion, embedding_set

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, TwoViews, voice

M, D = len(COPY_CONDITIONS), 4


def clip(number: int, copies: int = M, halves: int = 2, views: int = 1) -> dict[str, np.ndarray]:
    """Every row tells where it is from: clip number, then 0 for the clip, 1.. for copies, 100, 101 for halves; view."""

    def rows(first: int, n: int) -> np.ndarray:
        told = [[[number, first + i, view, 0] for view in range(views)] for i in range(n)]
        return np.array(told, np.float32).reshape(n, views, D)

    return {
        "embedding": rows(0, 1)[0, 0],
        "views": rows(0, 1)[0],
        "copies": rows(1, copies).astype(np.float16),
        "halves": rows(100, halves).astype(np.float16),
    }


@pytest.mark.parametrize("views", [1, 2])
def test_clips_and_copies_in_rows(views: int) -> None:
    items, halves = embedding_set([clip(number, views=views) for number in range(3)], [5, 7, 5])
    assert items.embeddings.dtype == np.float32
    assert items.embeddings.shape == (3 * (M + 1), views, D)
    for view in range(views):
        assert items.embeddings[:, view, 0].tolist() == np.repeat([0, 1, 2], M + 1).tolist()
        assert items.embeddings[:, view, 1].tolist() == [*range(M + 1)] * 3
        assert set(items.embeddings[:, view, 2]) == {view}
    assert items.labels.tolist() == np.repeat([5, 7, 5], M + 1).tolist()
    assert items.clips.tolist() == np.repeat([0, 1, 2], M + 1).tolist()
    assert items.groups.tolist() == [0, *COPY_GROUPS.tolist()] * 3
    assert items.copies.tolist() == ([False] + [True] * M) * 3
    assert halves is not None
    assert halves.embeddings.dtype == np.float32
    assert halves.embeddings.tolist() == [
        [[i, half, view, 0] for view in range(views)] for i in range(3) for half in (100, 101)
    ]
    assert halves.labels.tolist() == [5, 5, 7, 7, 5, 5]
    assert halves.clips.tolist() == [0, 0, 1, 1, 2, 2]
    assert not halves.copies.any()


def test_clips_without_copies_or_halves_keep_their_numbers() -> None:
    items, halves = embedding_set([clip(0, 0, 0), clip(1, M, 0), clip(2, 0, 2)], [0, 1, 2])
    assert items.clips.tolist() == [0] + [1] * (M + 1) + [2]
    assert halves is not None
    assert halves.clips.tolist() == [2, 2]
    assert halves.labels.tolist() == [2, 2]


def test_the_embedding_alone_will_do() -> None:
    items, halves = embedding_set([{"embedding": np.ones(D, np.float32)}], [0])
    assert (len(items), items.n_clips, halves) == (1, 1, None)
    assert items.embeddings.shape == (1, 1, D)


def test_copies_stored_before_there_were_views() -> None:
    """Of the plain view alone, without the axis."""
    now = clip(0)
    before = {key: now[key].reshape(-1, D) for key in ("copies", "halves")} | {"embedding": now["embedding"]}
    items, halves = embedding_set([now, before], [0, 0])
    assert halves is not None
    for both in (items, halves):
        np.testing.assert_array_equal(*np.split(both.embeddings, 2))


@pytest.mark.parametrize("encoder", [FakeEncoder(), TwoViews()])
def test_from_recordings(encoder: FakeEncoder) -> None:
    """As the gallery stores them: every row has all views of the encoder, the plain one first."""
    recordings = [voice("ann"), voice("ann", 1), voice("bob")]
    clips = embed_with_copies(encoder, recordings)
    items, halves = embedding_set([one.arrays() for one in clips], [0, 0, 1])
    views = len(view_names(encoder))
    assert items.embeddings.shape == (3 * (M + 1), views, encoder.dim)
    assert items.n_views == views
    speech = [trim_silence(recording) for recording in recordings]
    originals = items.originals()
    np.testing.assert_array_equal(originals.embeddings, embed_views(encoder, speech))
    np.testing.assert_array_equal(originals.view(0).embeddings, encoder.embed(speech))
    assert halves is not None
    assert halves.embeddings.shape == (6, views, encoder.dim)
    assert np.isfinite(halves.embeddings).all()


def test_copies_of_another_version_are_refused() -> None:
    with pytest.raises(GalleryError, match=rf"{M - 1} degraded copies .* makes {M}; run: kith reembed"):
        embedding_set([clip(0, M - 1)], [0])


def test_cohesion_is_the_mean_cosine_of_different_clips() -> None:
    a, b, c = np.array([1.0, 0.0]), np.array([0.0, 3.0]), np.array([2.0, 2.0])
    assert cohesion(np.stack([a, b, c])) == pytest.approx((0 + 2**-0.5 + 2**-0.5) / 3)
    assert cohesion(np.stack([a, 5 * a])) == pytest.approx(1.0)
    assert cohesion(a[None]) is None


@pytest.mark.parametrize(
    ("clips", "seconds", "together", "said"),
    [
        (1, 4.0, None, ["record 2 more clips", "4 s of speech so far"]),
        (2, 12.0, 0.9, ["record 1 more clip,"]),
        (3, 9.9, 0.9, ["10 s or more"]),
        (3, 10.0, 0.6, []),
        (9, 40.0, 0.5, ["the clips differ a lot (mean cosine 0.50)"]),
    ],
)
def test_advice(clips: int, seconds: float, together: float | None, said: list[str]) -> None:
    advice = advise(clips, seconds, together)
    assert len(advice) == len(said)
    for sentence, part in zip(advice, said, strict=True):
        assert part in sentence


def test_report_as_plain_values() -> None:
    report = EnrolmentReport("ann", 1, 2, 3.5, None, ("more",))
    assert report.to_dict() == {
        **{"name": "ann", "added": 1, "clips": 2, "seconds": 3.5},
        **{"cohesion": None, "advice": ("more",)},
    }
