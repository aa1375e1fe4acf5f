"""Open-set speaker recognition as a scikit-learn estimator, on embeddings of any encoder."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from openkith.errors import NotEnoughDataError
from openkith.openset.model import AUTO, OpenSetModel, check_method, fit_open_set
from openkith.scoring.base import EmbeddingSet, normalise
from openkith.scoring.calibration import DEFAULT_FAR, DEFAULT_UNKNOWN_PRIOR

__all__ = ["OpenSetClassifier"]


class OpenSetClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Says which of the people it knows an embedding is of, or that it is of nobody known.

    Rows of X are embeddings, one a clip; only their direction counts. Rows of y are people, or `unknown_label` or
    None for clips of anybody else: the cohort, from which the head and the threshold are learned. How is told in
    `openkith.openset.model.fit_open_set`, which this wraps.

    The unknown is always one of the classes, also where no row of y was unknown. Without unknown rows no threshold
    can be learned from strangers. Then every person known is a stranger to all the others: cosine is calibrated on
    the people against one another, and the threshold lets no more than a share `far` of their clips pass for
    somebody else's. That takes two people, and a few people are a poor stand-in for strangers.

    With one clip a person, and no unknown person of whom `groups` tells two clips apart, nothing says how far the
    clips of one person differ; a second one is then guessed to score halfway between the first and other people.

    Args:
        method: A key of `openkith.openset.model.METHODS`, or "auto": what does best on held-out clips.
        far: False-accept rate: the share of unknown clips that may get any name, between 0 and 1.
        unknown_prior: Prior probability that a clip is of nobody known, between 0 and 1.
        unknown_label: The label of unknown rows in y and in predictions; with names of people as text, "unknown"
            reads better than the default. A row of y that is None is unknown too.
        random_state: Of everything random: an int for results that repeat.

    Attributes:
        classes_: (C + 1,) the C people and `unknown_label`, sorted; if they cannot be sorted together, such as text
            and -1, the people are sorted and the unknown comes last. The columns of all results are in this order.
        model_: The `openkith.openset.model.OpenSetModel`: the method in use, held-out errors, the calibration with what
            the threshold is expected to cost, and ``llrs`` for the people's ratios alone.
        n_features_in_: Length of an embedding.
        feature_names_in_: Names of the features, where X had them in `fit`.

    Example:
        >>> import numpy as np
        >>> from openkith import OpenSetClassifier
        >>> rng = np.random.default_rng(0)
        >>> voices = rng.normal(size=(22, 16))                      # two people, and twenty others
        >>> X = np.repeat(voices, 4, axis=0) + 0.1 * rng.normal(size=(88, 16))
        >>> y = ["ann"] * 4 + ["bob"] * 4 + [None] * 80
        >>> model = OpenSetClassifier("cosine", unknown_label="unknown").fit(X, y, groups=np.repeat(range(22), 4))
        >>> model.classes_.tolist()
        ['ann', 'bob', 'unknown']
        >>> model.predict([voices[0], voices[1], rng.normal(size=16)]).tolist()
        ['ann', 'bob', 'unknown']
    """

    classes_: npt.NDArray[Any]
    model_: OpenSetModel

    def __init__(
        self,
        method: str = AUTO,
        far: float = DEFAULT_FAR,
        unknown_prior: float = DEFAULT_UNKNOWN_PRIOR,
        unknown_label: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.far = far
        self.unknown_prior = unknown_prior
        self.unknown_label = unknown_label
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Learn the people.

        Args:
            X: (n, d) embeddings.
            y: (n,) whose each is; `unknown_label` or None: of somebody else.
            groups: (n,) who speaks in the unknown rows, any labels, so that all clips of a stranger are held out
                together; what stands beside known rows is not looked at. None: a stranger a row.

        Raises:
            ValueError: Shapes, NaN, no known row, or one person and nobody else.
            ConfigError: No such method, or a rate or the prior is not between 0 and 1.
            NotEnoughDataError: Too few unknown rows for the method, if it is not "auto".
        """
        check_method(self.method, speech=False)
        if isinstance(y, list | tuple):
            y = np.asarray(y, dtype=object)  # else NumPy turns a list of names and None, or -1, into text
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        unknown = np.array([label is None or bool(label == self.unknown_label) for label in y.tolist()])
        people, labels = _people(y[~unknown])
        voices = np.arange(len(y)) if groups is None else np.asarray(groups)
        check_consistent_length(X, voices)
        strangers = _codes(voices[unknown].tolist())
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        x = normalise(X)
        try:
            model = fit_open_set(
                self.method,
                EmbeddingSet.plain(x[~unknown], labels),
                EmbeddingSet.plain(x[unknown], strangers) if unknown.any() else None,
                seed=int(seed),
                far=self.far,
                unknown_prior=self.unknown_prior,
            )
        except NotEnoughDataError as error:
            if len(people) > 1 or unknown.any():
                raise
            raise ValueError(
                f"y has one class, {people.tolist()[0]!r}, and no unknown row; add a second person, or rows of "
                f"other people labelled {self.unknown_label!r}"
            ) from error
        self.model_ = model
        self.classes_, self._unknown = _classes(people, self.unknown_label)
        return self

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Natural-log likelihood ratios of each person against a stranger, and the threshold that they must reach.

        Returns:
            (n, C + 1) in the order of `classes_`; the column of the unknown is the threshold, so that the largest
            column is what `predict` says. With one person (n,): the second class minus the first, above 0 for the
            second.
        """
        llrs = self._llrs(X)
        threshold = np.full(len(llrs), self.model_.calibration.threshold)
        columns = np.insert(llrs, self._unknown, threshold, axis=1)
        return columns[:, 1] - columns[:, 0] if columns.shape[1] == 2 else columns

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The person of the largest ratio, or `unknown_label` where that is below the threshold; (n,)."""
        llrs = self._llrs(X)
        best = llrs.argmax(axis=1)
        known = llrs[np.arange(len(llrs)), best] >= self.model_.calibration.threshold
        return self.classes_[np.where(known, best + (best >= self._unknown), self._unknown)]

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Probability of each person and of the unknown, (n, C + 1) in the order of `classes_`; rows sum to 1.

        By Bayes' rule with `unknown_prior`, the rest of which the people share evenly. The largest need not be what
        `predict` says, which goes by the rate `far`.
        """
        llrs = self._llrs(X)
        posteriors = self.model_.calibration.posteriors(llrs)
        return np.insert(posteriors[:, :-1], self._unknown, posteriors[:, -1], axis=1)

    def _llrs(self, X: Any) -> npt.NDArray[np.float64]:
        """(n, C) ratios."""
        check_is_fitted(self)
        return self.model_.llrs(normalise(validate_data(self, X, dtype=np.float64, reset=False)))


def _people(y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The known labels, sorted, and the index of each row's."""
    if not len(y):
        raise ValueError("every row of y is unknown; give the rows of at least one class")
    if y.dtype == object:
        if len({isinstance(label, str) for label in y}) > 1:
            raise ValueError("y has labels that are text and labels that are not; give one kind")
        y = np.array(y.tolist())
    check_classification_targets(y)
    people, labels = np.unique(y, return_inverse=True)
    return people, labels


def _codes(voices: list[Any]) -> npt.NDArray[np.int64]:
    """Any labels as 0, 1, 2 ... in the order in which they come."""
    codes: dict[Any, int] = {}
    return np.array([codes.setdefault(voice, len(codes)) for voice in voices], np.int64)


def _classes(people: npt.NDArray[Any], unknown: Any) -> tuple[npt.NDArray[Any], int]:
    """People and the unknown in the order of `OpenSetClassifier.classes_`, and where the unknown stands."""
    names = people.tolist()
    try:
        at = sum(name < unknown for name in names)
        return np.array([*names[:at], unknown, *names[at:]]), at
    except TypeError:
        classes = np.empty(len(names) + 1, object)
        classes[:] = [*names, unknown]
        return classes, len(names)
