"""Sets of embeddings: weights and means by hand, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from openkith.errors import InputError, NotEnoughDataError
from openkith.scoring import EmbeddingSet
from openkith.scoring.base import check_embeddings, class_means, need_cohort, normalise, one_view


def small_set() -> EmbeddingSet:
    """Clip 0 with two copies and clip 2 alone are speaker 0's; clip 5, of which there are only copies, speaker 1's."""
    return EmbeddingSet(
        np.array([[1, 0], [0, 1], [0, 3], [5, 5], [2, 0], [0, 4]], np.float32),
        np.array([0, 0, 0, 0, 1, 1]),
        np.array([0, 0, 0, 2, 5, 5]),
        np.array([0, 1, 2, 0, 1, 2]),
        np.array([False, True, True, False, True, True]),
    )


def test_normalise() -> None:
    x = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]])
    unit = normalise(x)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0], [0, -1]], rtol=1e-6)
    np.testing.assert_allclose(normalise(np.stack([x, 7 * x])), [unit, unit], rtol=1e-6)


def test_plain() -> None:
    items = EmbeddingSet.plain(np.array([[1, 2], [3, 4]]), np.array([1, 0]))
    assert items.embeddings.dtype == np.float32
    assert items.labels.tolist() == [1, 0]
    assert items.clips.tolist() == [0, 1]
    assert not items.copies.any()
    assert not items.groups.any()
    assert (len(items), items.n_speakers, items.n_clips) == (2, 2, 2)


def test_weights_by_hand() -> None:
    items = small_set()
    np.testing.assert_allclose(items.weights(0.4), [0.4, 0.3, 0.3, 1.0, 0.3, 0.3])
    np.testing.assert_allclose(items.weights(1.0), [1, 0, 0, 1, 0, 0])


def test_class_means_by_hand() -> None:
    items = small_set()
    first = (0.4 * np.array([1, 0]) + 0.3 * np.array([0, 1]) + 0.3 * np.array([0, 3]) + np.array([5, 5])) / 2
    means = class_means(items, items.embeddings, 0.4)
    assert means.dtype == np.float32
    np.testing.assert_allclose(means, [first, [1, 2]], rtol=1e-6)


def test_originals_and_select() -> None:
    items = small_set()
    assert items.originals().clips.tolist() == [0, 2]
    chosen = items.select(np.array([5, 0]))
    assert chosen.labels.tolist() == [1, 0]
    assert chosen.groups.tolist() == [2, 0]
    assert chosen.copies.tolist() == [True, False]
    assert (items.n_speakers, items.n_clips) == (2, 3)


def test_concatenate_keeps_parts_apart() -> None:
    items = small_set()
    both = EmbeddingSet.concatenate([items, items.select(np.zeros(6, bool)), items, items])
    assert len(both) == 18
    assert both.n_speakers == 6
    assert both.n_clips == 9
    np.testing.assert_array_equal(both.embeddings[6:12], items.embeddings)
    np.testing.assert_allclose(both.weights(0.4), np.tile(items.weights(0.4), 3))


@pytest.mark.parametrize("parts", [[], [small_set().select(np.zeros(6, bool))]])
def test_concatenate_nothing(parts: list[EmbeddingSet]) -> None:
    with pytest.raises(NotEnoughDataError, match="no embeddings at all"):
        EmbeddingSet.concatenate(parts)


def test_need_cohort() -> None:
    items = small_set()
    assert need_cohort(items, "x") is items
    with pytest.raises(
        NotEnoughDataError, match=r"as-norm needs clips of other people, and there are none .*--unknown"
    ):
        need_cohort(None, "as-norm")
    with pytest.raises(NotEnoughDataError, match="too few"):
        need_cohort(items.select(items.clips == 0), "as-norm")


def test_check_embeddings() -> None:
    good = np.ones((3, 4))
    check_embeddings(good, "probes")
    check_embeddings(good, "probes", (4,))
    check_embeddings(good[:0], "probes", (4,))
    with pytest.raises(InputError, match=r"probes: embeddings of shape \(3, 4\); give \(n, 5\)"):
        check_embeddings(good, "probes", (5,))
    with pytest.raises(InputError, match=r"\(4,\); give \(n, d\)"):
        check_embeddings(good[0], "probes")
    for value in (np.nan, np.inf, -np.inf):
        bad = good.copy()
        bad[1, 2] = value
        with pytest.raises(InputError, match="cohort: row 1 has NaN or infinite values"):
            check_embeddings(bad, "cohort", (4,))
        with pytest.raises(InputError, match="cohort: row 1 has NaN or infinite values"):
            check_embeddings(np.stack([good, bad], axis=1), "cohort", (2, 4))


def test_check_embeddings_of_views() -> None:
    views = np.ones((3, 2, 4))
    check_embeddings(views, "probes")
    check_embeddings(views, "probes", (2, 4))
    with pytest.raises(InputError, match=r"probes: embeddings of shape \(3, 2, 4\); give \(n, 4\)"):
        check_embeddings(views, "probes", (4,))
    with pytest.raises(InputError, match=r"probes: embeddings of shape \(3, 4\); give \(n, 2, 4\)"):
        check_embeddings(views[:, 0], "probes", (2, 4))
    with pytest.raises(InputError, match=r"\(1, 3, 2, 4\); give \(n, d\)"):
        check_embeddings(views[None], "probes")


def views_of(items: EmbeddingSet) -> EmbeddingSet:
    """The rows as they are, ten times as long, and the other way round."""
    x = items.embeddings
    return replace(items, embeddings=np.stack([x, 10 * x, x[:, ::-1]], axis=1))


def test_one_view_of_every_row() -> None:
    items = small_set()
    several = views_of(items)
    assert (items.n_views, several.n_views) == (1, 3)
    for index, expected in enumerate((items.embeddings, 10 * items.embeddings, items.embeddings[:, ::-1])):
        one = several.view(index)
        assert one.n_views == 1
        np.testing.assert_array_equal(one.embeddings, expected)
        assert one.embeddings.dtype == np.float32
        for name in ("labels", "clips", "groups", "copies"):
            np.testing.assert_array_equal(getattr(one, name), getattr(items, name))
    np.testing.assert_array_equal(one_view(several.embeddings), items.embeddings)
    np.testing.assert_array_equal(
        items.view(0).embeddings, items.embeddings
    )  # embeddings (n, d): the plain view
    assert one_view(np.ones((2, 5))).dtype == np.float32
    for missing in (items.embeddings, several.embeddings[:, :1]):
        with pytest.raises(IndexError):
            one_view(missing, 1)


def test_views_are_selected_and_concatenated_together() -> None:
    several = views_of(small_set())
    chosen = several.select(np.array([5, 0]))
    np.testing.assert_array_equal(chosen.embeddings, several.embeddings[[5, 0]])
    assert several.originals().embeddings.shape == (2, 3, 2)
    both = EmbeddingSet.concatenate([several, chosen])
    assert both.embeddings.shape == (8, 3, 2)
    np.testing.assert_array_equal(both.embeddings[6:], chosen.embeddings)
    plain = EmbeddingSet.plain(np.ones((2, 3, 4)), np.array([0, 1]))
    assert (len(plain), plain.n_views) == (2, 3)
