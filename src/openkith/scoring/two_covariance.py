"""Two-covariance probabilistic linear discriminant analysis (PLDA).

A speaker's place y ~ N(mu, B) and each embedding x | y ~ N(y, W) are Gaussian (Brümmer & de Villiers, "The speaker
partitioning problem", Odyssey 2010; Sizov, Lee & Kinnunen, "Unifying probabilistic linear discriminant analysis
variants in biometric authentication", S+SSPR 2014). B and W are diagonal in one common basis, in which EM, likelihood
and scores cost O(d) per row; only sums per speaker are ever needed, so each may have any number of clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError, NotEnoughDataError
from openkith.scoring.base import SCORED_IN, class_sums

__all__ = ["ITERATIONS", "SHRINKAGE", "TwoCovariance", "log_ratios"]

SHRINKAGE = 0.3  # of both covariances, towards a multiple of the identity
ITERATIONS = 5  # of EM
MIN_SHRINKAGE = 1e-6  # keeps both covariances invertible where there are fewer clips than dimensions
_BLOCK = 1024  # probes scored against all people at once
_FLOOR = 1e-9  # of a variance

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TwoCovariance:
    """The model: where speakers lie, and how their embeddings lie around them.

    Attributes:
        mean: (d,) mu, of speakers.
        between: (d, d) B, covariance of speakers.
        within: (d, d) W, covariance of one speaker's embeddings.
    """

    mean: Doubles
    between: Doubles
    within: Doubles

    @classmethod
    def fit(
        cls,
        x: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        weights: npt.NDArray[Any] | None = None,
        *,
        shrinkage: float = SHRINKAGE,
        iterations: int = ITERATIONS,
        prior: TwoCovariance | None = None,
        history: list[float] | None = None,
    ) -> TwoCovariance:
        """Estimate by EM, from moments.

        Each M-step takes ``shrinkage`` of its covariances from the prior and the rest from the data: EM under an
        inverse Wishart prior that counts ``s / (1 - s)`` times the data, whose objective never falls. Where no
        speaker has two embeddings the data cannot tell B from W, and each gets half of the total.

        Args:
            x: (n, d) embeddings.
            labels: (n,) speaker of each, any integers.
            weights: (n,) how often each counts; None: once. The copies of a clip may share a weight of one.
            shrinkage: 0 to below 1; a millionth at least is taken.
            iterations: Of EM; 0 gives the estimate from moments, shrunk.
            prior: What is shrunk towards, and begun from; None: a multiple of the identity with the trace of each
                moment estimate.
            history: The objective before each iteration and after the last is appended: the log likelihood, and the
                log density of the prior up to a constant.

        Raises:
            ConfigError: ``shrinkage`` or ``iterations`` out of range.
            NotEnoughDataError: Fewer than two embeddings, and no prior.
        """
        if not 0.0 <= shrinkage < 1.0:
            raise ConfigError(
                f"shrinkage is {shrinkage}; give 0 or more and less than 1, for example {SHRINKAGE}"
            )
        if iterations < 0:
            raise ConfigError(f"iterations is {iterations}; give 0 or more")
        if len(x) < (1 if prior else 2):
            raise NotEnoughDataError(f"PLDA learns from clips of several speakers, and was given {len(x)}")
        statistics = _Statistics.of(x, labels, weights)
        share = max(shrinkage, MIN_SHRINKAGE)
        if prior is None:
            model = statistics.moments()
            between, within = (
                max(np.trace(each) / len(each), _FLOOR) * np.eye(len(each))
                for each in (model.between, model.within)
            )
            goal = cls(model.mean, between, within)
            model = cls(
                model.mean,
                (1.0 - share) * model.between + share * between,
                (1.0 - share) * model.within + share * within,
            )
        else:
            model = goal = prior
        free = prior is None
        for _ in range(iterations):
            if history is not None:
                history.append(statistics.objective(model, goal, share, free_mean=free))
            model = statistics.improve(model, goal, share, free_mean=free)
        if history is not None:
            history.append(statistics.objective(model, goal, share, free_mean=free))
        return model

    def log_likelihood(
        self, x: npt.NDArray[Any], labels: npt.NDArray[Any], weights: npt.NDArray[Any] | None = None
    ) -> float:
        """Natural-log density of embeddings (n, d), given who speaks in each; weights are exponents."""
        return _Statistics.of(x, labels, weights).log_likelihood(self, *self.basis())

    def basis(self) -> tuple[Doubles, Doubles]:
        """A (d, d) and b (d,) with ``A.T W A = I`` and ``A.T B A = diag(b)``, b falling."""
        from scipy.linalg import eigh

        values, vectors = eigh(self.between, self.within)
        return np.ascontiguousarray(vectors[:, ::-1]), np.maximum(values[::-1], 0.0)

    def llr(self, probes: npt.NDArray[Any], means: npt.NDArray[Any], counts: npt.NDArray[Any]) -> Doubles:
        """Log-likelihood ratio of each probe being of each person, against a stranger.

        Args:
            probes: (p, d).
            means: (C, d) mean of each person's enrolment embeddings.
            counts: (C,) of how many, or the sum of their weights.

        Returns:
            (p, C), natural log.
        """
        basis, spread = self.basis()
        return log_ratios((probes - self.mean) @ basis, (means - self.mean) @ basis, counts, spread)

    def adapted(
        self,
        x: npt.NDArray[Any],
        labels: npt.NDArray[Any] | None = None,
        weights: npt.NDArray[Any] | None = None,
        *,
        share: float = 0.5,
        iterations: int = ITERATIONS,
    ) -> TwoCovariance:
        """The model, moved towards embeddings of another domain.

        With labels, parameters are interpolated (Garcia-Romero & McCree, "Supervised domain adaptation for i-vector
        based speaker recognition", ICASSP 2014), in every M-step: what few in-domain clips leave open stays as it
        was. Without, both covariances are recoloured so that their sum is the in-domain total covariance (CORAL; Sun,
        Feng & Saenko, AAAI 2016; for PLDA: Lee, Wang & Koshinaka, ICASSP 2019) and then interpolated; that total is
        itself averaged with the model's, which counts d rows.

        Args:
            x: (n, d) in-domain embeddings.
            labels: (n,) who speaks in each, or None.
            weights: (n,) how often each counts; None: once.
            share: Of the in-domain estimate, 0 (nothing changes) to below 1.
            iterations: Of EM, with labels.

        Raises:
            ConfigError: ``share`` out of range.
        """
        if not 0.0 <= share < 1.0:
            raise ConfigError(f"share is {share}; give 0 or more and less than 1, for example 0.5")
        if share == 0.0 or not len(x):
            return self
        if labels is not None:
            return self.fit(x, labels, weights, shrinkage=1.0 - share, iterations=iterations, prior=self)
        w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
        x = np.asarray(x, np.float64)
        mean, dim = w @ x / w.sum(), x.shape[1]
        total = self.between + self.within
        scatter = (x - mean).T @ ((x - mean) * w[:, None])
        recolour = _power(total, -0.5) @ _power((scatter + dim * total) / (w.sum() + dim), 0.5)
        return TwoCovariance(
            (1.0 - share) * self.mean + share * mean,
            (1.0 - share) * self.between + share * recolour.T @ self.between @ recolour,
            (1.0 - share) * self.within + share * recolour.T @ self.within @ recolour,
        )


def log_ratios(
    probes: npt.NDArray[Any], means: npt.NDArray[Any], counts: npt.NDArray[Any], spread: npt.NDArray[Any]
) -> Doubles:
    """The same as `TwoCovariance.llr`, of what is centred and in the common basis already.

    With b the spread and n the count, a person's next embedding is N(n b / (1 + n b) mean, 1 + b / (1 + n b)) in each
    dimension, and a stranger's N(0, 1 + b).

    Args:
        probes: (p, d).
        means: (C, d).
        counts: (C,).
        spread: (d,) b, variance of speakers where that within one is 1.
    """
    return ratios_of(probes, ratio_terms(means, counts, spread))


def ratio_terms(
    means: npt.NDArray[Any], counts: npt.NDArray[Any], spread: npt.NDArray[Any]
) -> tuple[Doubles, Doubles, Doubles]:
    """What `log_ratios` needs of the people: its linear and square terms (C, d), and its constant (C,)."""
    spread = spread.astype(SCORED_IN)
    gain = 1.0 / (1.0 + counts.astype(SCORED_IN)[:, None] * spread)  # (C, d)
    expected = (1.0 - gain) * means
    variance, stranger = 1.0 + spread * gain, 1.0 + spread
    linear, square = expected / variance, 0.5 * (1.0 / stranger - 1.0 / variance)
    constant = -0.5 * (np.log(variance / stranger) + expected * linear).sum(axis=1)
    return linear, square, constant


def ratios_of(probes: npt.NDArray[Any], terms: tuple[Doubles, Doubles, Doubles]) -> Doubles:
    """`log_ratios` of probes (p, d) with the people's terms, (p, C)."""
    linear, square, constant = terms
    z = probes.astype(SCORED_IN)
    ratios = np.empty((len(z), len(constant)))
    for first in range(0, len(z), _BLOCK):
        block = z[first : first + _BLOCK]
        ratios[first : first + _BLOCK] = block @ linear.T + (block * block) @ square.T + constant
    return ratios


@dataclass(frozen=True, eq=False)
class _Statistics:
    """All that the model needs of the data, for S speakers.

    Attributes:
        origin: (d,) mean of all rows; taken off, so that nothing large is subtracted from its like.
        counts: (S,) sum of weights.
        sums: (S, d) weighted sums.
        scatter: (d, d) weighted second moment of all rows.
        squares: (S,) sum of squared weights over the sum: 1 for independent rows of weight 1.
    """

    origin: Doubles
    counts: Doubles
    sums: Doubles
    scatter: Doubles
    squares: Doubles

    @classmethod
    def of(cls, x: npt.NDArray[Any], labels: npt.NDArray[Any], weights: npt.NDArray[Any] | None) -> Self:
        """Of embeddings (n, d)."""
        w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
        x = np.asarray(x, np.float64)
        origin = w @ x / w.sum()
        x = x - origin
        speaker = np.unique(labels, return_inverse=True)[1]
        counts = np.bincount(speaker, w).astype(np.float64)
        return cls(
            origin,
            counts,
            class_sums(x, speaker, w),
            x.T @ (x * w[:, None]),
            np.bincount(speaker, w * w) / counts,
        )

    def moments(self) -> TwoCovariance:
        """The spread of embeddings around their speakers' means, and that of the means less their own noise.

        Both are unbiased for independent rows.
        """
        means = self.sums / self.counts[:, None]
        total = self.scatter / self.counts.sum()
        freedom = float((self.counts - self.squares).sum())
        residual = self.scatter - means.T @ self.sums
        mean = means.mean(axis=0)
        spread = (means - mean).T @ (means - mean) / max(len(means) - 1, 1)
        if freedom < _FLOOR or len(means) < 2:
            return TwoCovariance(mean + self.origin, 0.5 * total, 0.5 * total)
        within = residual / freedom
        noise = float((self.squares / self.counts).mean())
        values, vectors = np.linalg.eigh(spread - noise * within)
        between = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return TwoCovariance(mean + self.origin, between, within)

    def log_likelihood(self, model: TwoCovariance, basis: Doubles, spread: Doubles) -> float:
        """Of everything, under a model and its basis."""
        centre = model.mean - self.origin
        sums = (self.sums - self.counts[:, None] * centre) @ basis
        total, dim = self.counts.sum(), len(spread)
        gain = 1.0 + self.counts[:, None] * spread
        squared = np.einsum("ij,ij->", basis, self._scatter_about(centre) @ basis)
        explained = (spread / gain * sums**2).sum()
        log_volume = np.linalg.slogdet(basis)[1] - 0.5 * dim * np.log(2.0 * np.pi)
        return float(total * log_volume - 0.5 * (np.log(gain).sum() + squared - explained))

    def objective(self, model: TwoCovariance, goal: TwoCovariance, share: float, *, free_mean: bool) -> float:
        """Log likelihood and, up to a constant, log density of the prior: what `improve` raises."""
        weight = share / (1.0 - share)  # of the prior, in units of the data
        objective = self.log_likelihood(model, *model.basis())
        for count, covariance, target in (
            (len(self.counts), model.between, goal.between),
            (self.counts.sum(), model.within, goal.within),
        ):
            ratio = np.trace(np.linalg.solve(covariance, target))
            objective -= 0.5 * weight * count * float(np.linalg.slogdet(covariance)[1] + ratio)
        if not free_mean:
            gap = goal.mean - model.mean
            objective -= 0.5 * weight * len(self.counts) * float(gap @ np.linalg.solve(model.between, gap))
        return objective

    def improve(
        self, model: TwoCovariance, goal: TwoCovariance, share: float, *, free_mean: bool
    ) -> TwoCovariance:
        """One step of EM.

        Args:
            model: The estimate so far.
            goal: What the prior holds to be likely.
            share: Of it in each covariance, and in the mean where that is not free.
            free_mean: Whether the prior says nothing of the mean.
        """
        basis, spread = model.basis()
        back = basis.T @ model.within  # the inverse of the basis
        centre = model.mean - self.origin
        sums = self.sums - self.counts[:, None] * centre
        variance = spread / (
            1.0 + self.counts[:, None] * spread
        )  # (S, d) of each speaker's place, given the clips
        places = (variance * (sums @ basis)) @ back  # (S, d) expected place of each speaker, less the mean
        step = places.mean(axis=0)
        n_speakers, total = len(places), self.counts.sum()
        around = places - step
        if not free_mean:
            away = goal.mean - model.mean
            step = (1.0 - share) * step + share * away
            pull = np.sqrt(share / (1.0 - share) * n_speakers) * (step - away)
            around = np.concatenate([places - step, pull[None]])
        between = (around.T @ around + (back.T * variance.sum(axis=0)) @ back) / n_speakers
        crossed = places.T @ sums
        within = (
            self._scatter_about(centre)
            - crossed
            - crossed.T
            + places.T @ (places * self.counts[:, None])
            + (back.T * (self.counts @ variance)) @ back
        ) / total
        return TwoCovariance(
            model.mean + step,
            _symmetric((1.0 - share) * between + share * goal.between),
            _symmetric((1.0 - share) * within + share * goal.within),
        )

    def _scatter_about(self, centre: Doubles) -> Doubles:
        """Weighted second moment of all rows about another point."""
        crossed = np.outer(centre, self.sums.sum(axis=0))
        return np.asarray(
            self.scatter - crossed - crossed.T + self.counts.sum() * np.outer(centre, centre), np.float64
        )


def _symmetric(x: Doubles) -> Doubles:
    return np.asarray(0.5 * (x + x.T), np.float64)


def _power(covariance: Doubles, exponent: float) -> Doubles:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.maximum(values, _FLOOR) ** exponent) @ vectors.T, np.float64)
