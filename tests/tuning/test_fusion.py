"""Eigenvalue variance, selection and lines of members."""

from __future__ import annotations

import numpy as np
import pytest

from openkith.errors import ConfigError, InputError
from openkith.tuning.fusion import (
    FUSIONS,
    SELECTIONS,
    eigenvalue_variance,
    member_lines,
    select_members,
)


class TestEigenvalueVariance:
    def test_points_at_right_angles(self) -> None:
        assert eigenvalue_variance(3.0 * np.eye(4)[None]) == pytest.approx([0.0])

    @pytest.mark.parametrize("n", [2, 5])
    def test_points_all_alike(self, n: int) -> None:
        """Eigenvalues n, 0, ..., 0: mean 1, variance n - 1."""
        assert eigenvalue_variance(np.ones((1, n, 3))) == pytest.approx([n - 1.0])

    def test_two_by_hand(self) -> None:
        """Two unit vectors at 60 degrees: eigenvalues 1.5 and 0.5, variance 0.25."""
        points = np.array([[[1.0, 0.0], [0.5, np.sqrt(0.75)]]])
        assert eigenvalue_variance(points) == pytest.approx([0.25])

    @pytest.mark.parametrize(("n", "dim"), [(6, 9), (9, 6), (7, 7)])
    def test_by_definition(self, n: int, dim: int) -> None:
        points = np.random.default_rng(0).normal(size=(3, n, dim))
        points[1, 0] = 0.0  # without direction: a row of zeros
        lengths = np.linalg.norm(points, axis=-1, keepdims=True)
        unit = points / np.where(lengths > 0, lengths, 1)
        cosines = unit @ unit.swapaxes(1, 2)
        expected = np.linalg.eigvalsh(cosines).var(axis=1)
        np.testing.assert_allclose(eigenvalue_variance(points), expected, rtol=1e-9)

    def test_another_shape(self) -> None:
        for shape in ((3, 4), (2, 0, 4)):
            with pytest.raises(InputError, match="proxies have shape"):
                eigenvalue_variance(np.ones(shape))


class TestSelection:
    variances = (3.0, 1.0, 2.0, 1.0, 5.0, 4.0)

    @pytest.mark.parametrize(
        ("policy", "keep", "expected"),
        [
            ("all", 2, [0, 1, 2, 3, 4, 5]),
            ("lowest-variance", 3, [1, 2, 3]),
            ("lowest-variance", 1, [1]),
            ("lowest-variance", 1 / 3, [1, 3]),
            ("lowest-variance", 1.0, [0, 1, 2, 3, 4, 5]),
            ("lowest-variance", 0.01, [1]),
            ("lowest-variance", 99, [0, 1, 2, 3, 4, 5]),
            ("first", 2, [0, 1]),
            ("first", 0.5, [0, 1, 2]),
            ("first", 99, [0, 1, 2, 3, 4, 5]),
        ],
    )
    def test_by_hand(self, policy: str, keep: int | float, expected: list[int]) -> None:
        assert select_members(policy, self.variances, keep).tolist() == expected

    def test_no_such_policy(self) -> None:
        with pytest.raises(ConfigError, match=f"selection is 'best'; there are: {', '.join(SELECTIONS)}"):
            select_members("best", self.variances, 1)


class TestLines:
    own = np.array([[4.0, 6.0], [40.0, 60.0]])
    others = np.array([[-1.0, 1.0, -1.0, 1.0], [10.0, 30.0, 10.0, 30.0]])

    def test_mean(self) -> None:
        slopes, intercepts = member_lines("mean", self.own, self.others)
        assert slopes.tolist() == [1, 1]
        assert intercepts.tolist() == [0, 0]

    def test_standardised(self) -> None:
        slopes, intercepts = member_lines("standardised", self.own, self.others)
        np.testing.assert_allclose(slopes, [1.0, 0.1])
        np.testing.assert_allclose(intercepts, [0.0, -2.0])
        flat = member_lines("standardised", np.ones((1, 2)), np.full((1, 3), 7.0))
        assert [float(value[0]) for value in flat] == [1.0, -7.0]

    def test_calibrated_does_not_mind_the_scale(self) -> None:
        """The same scores times 10, plus 20: the same ratios."""
        rng = np.random.default_rng(0)
        own, others = rng.normal(2, 1, 300), rng.normal(0, 1, 900)
        slopes, intercepts = member_lines(
            "calibrated", np.stack([own, 10 * own + 20]), np.stack([others, 10 * others + 20])
        )
        assert slopes[1] == pytest.approx(slopes[0] / 10, rel=1e-3)
        assert intercepts[0] == pytest.approx(intercepts[1] + 20 * slopes[1], abs=1e-2)
        # Gaussians of unit deviation two apart: the ratio is 2 score - 2.
        assert slopes[0] == pytest.approx(2, rel=0.15)
        assert intercepts[0] == pytest.approx(-2, rel=0.15)

    def test_no_such_policy(self) -> None:
        with pytest.raises(ConfigError, match=f"fusion is 'sum'; there are: {', '.join(FUSIONS)}"):
            member_lines("sum", self.own, self.others)
