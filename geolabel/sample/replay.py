"""Replays of a labelled data set: how many labels a sampler needs, judged in parts of the map that it never sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.errors import InputError
from geolabel.sample.candidates import F64, Bools, Candidates, Ints, Sampler, standardised
from geolabel.sample.doubt import committee_doubt, pixel_doubt

#: Samplers that look at no predictions; for them none are made.
WITHOUT_MODEL = frozenset({"random", "core-set", "typiclust", "prob-cover"})
_MEMBERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTable:
    """A labelled data set as a table: n chips with m pixels each.

    Attributes:
        name: For people.
        features: (n, m, d) float32, finite.
        labels: (n, m) int16 index into `class_names`; -1: not labelled, left out everywhere.
        xy_m: (n, 2) float64 centres of the chips, metres.
        spacing_m: Distance between neighbouring chips, metres.
        class_names: k names; "" for background.
    """

    name: str
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int16]
    xy_m: F64
    spacing_m: float
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        n, m = self.labels.shape
        if self.features.ndim != 3 or self.features.shape[:2] != (n, m) or self.xy_m.shape != (n, 2):
            raise InputError(
                f"features {self.features.shape}, labels {self.labels.shape} and xy {self.xy_m.shape} don't fit; "
                "(n, m, d), (n, m) and (n, 2) are right"
            )
        if n < 8:
            raise InputError(f"{n} labelled chips are too few to simulate with; at least 8 are needed")
        if not np.isfinite(self.features).all():
            raise InputError("the features hold NaN or infinity")
        if self.labels.max(initial=-1) >= len(self.class_names) or self.labels.min(initial=0) < -1:
            raise InputError(f"labels must lie in -1 to {len(self.class_names) - 1}, the number of classes less one")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """How a replay is run.

    Attributes:
        first: Chips of the first batch.
        growth: Every further batch is this share of what is labelled already.
        least: But at least so many chips.
        budget: Most chips that are labelled.
        target: Share of the all-labels score that counts as reached.
        test_share: Share of blocks that are kept for judging.
        block_chips: Width of a block, in chips.
        buffer_chips: Chips nearer than this to a test block are used for nothing.
        trees: Of the classifier.
        stop_after: Stop so many rounds after the target was reached and held; 0: go on to the budget.
    """

    first: int = 6
    growth: float = 0.25
    least: int = 3
    budget: int = 400
    target: float = 0.95
    test_share: float = 0.3
    block_chips: float = 5.0
    buffer_chips: float = 0.0
    trees: int = 16
    stop_after: int = 2

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One learning curve: labelled chips, the score after each batch, and what all labels together reach."""

    sampler: str
    seed: int
    labels: tuple[int, ...]
    scores: tuple[float, ...]
    full_score: float
    pool: int
    reached: float | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "labels": list(self.labels),
            "scores": [round(score, 5) for score in self.scores],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Replay:
        """Rebuild from `to_json`."""
        fields = {name: value[name] for name in cls.__slots__}
        return cls(**{**fields, "labels": tuple(value["labels"]), "scores": tuple(value["scores"])})


def split_by_block(table: LabelledTable, options: ReplayOptions, seed: int) -> tuple[Ints, Ints]:
    """Return rows of the pool and rows of the test, whole blocks of the map each.

    Raises:
        InputError: there are too few blocks to keep one for judging.
    """
    width = table.spacing_m * options.block_chips
    cells = np.floor((table.xy_m - table.xy_m.min(axis=0)) / width + 1e-9).astype(np.int64)
    _, block = np.unique(cells, axis=0, return_inverse=True)
    block = block.reshape(-1)
    count = int(block.max()) + 1
    wanted = max(1, round(count * options.test_share))
    if count < 2:
        raise InputError(
            f"{len(table)} chips lie in one block of {width:.0f} m; use smaller blocks so that one can judge"
        )
    chosen = np.random.default_rng(seed).permutation(count)[:wanted]
    test = np.isin(block, chosen)
    pool = ~test
    if options.buffer_chips > 0:
        pool &= ~_near(table.xy_m, test, options.buffer_chips * table.spacing_m)
    return np.flatnonzero(pool), np.flatnonzero(test)


def _near(xy: F64, test: Bools, distance: float) -> Bools:
    from scipy.spatial import cKDTree

    found, _ = cKDTree(xy[test]).query(xy, p=np.inf)
    return np.asarray((found <= distance) & ~test, dtype=np.bool_)


class PixelModel:
    """A light classifier of pixels: extremely randomised trees with balanced classes."""

    def __init__(self, classes: int, trees: int, seed: int) -> None:
        self._classes = classes
        self._trees = trees
        self._seed = seed
        self._forest: Any = None

    def fit(self, features: npt.NDArray[np.float32], labels: npt.NDArray[np.int16]) -> PixelModel:
        """Learn from (n, d) features with (n,) labels; -1 is left out."""
        from sklearn.ensemble import ExtraTreesClassifier

        good = labels >= 0
        self._forest = ExtraTreesClassifier(
            self._trees, min_samples_leaf=2, class_weight="balanced", random_state=self._seed, n_jobs=1
        ).fit(features[good], labels[good])
        return self

    def members(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return (e, n, k) probabilities of groups of trees; their mean is the forest's."""
        rows = np.ascontiguousarray(features, dtype=np.float32)
        groups = min(_MEMBERS, self._trees)
        out = np.zeros((groups, len(rows), self._classes))
        seen = self._forest.classes_
        for index, tree in enumerate(self._forest.estimators_):
            leaf = tree.tree_.apply(rows)
            value = tree.tree_.value[:, 0, :]
            share = value / np.maximum(value.sum(axis=1, keepdims=True), 1e-12)
            out[index % groups][:, seen] += share[leaf]
        counts = np.bincount(np.arange(len(self._forest.estimators_)) % groups, minlength=groups)
        return np.asarray(out / counts[:, None, None], dtype=np.float64)

    def predict(self, features: npt.NDArray[np.float32]) -> Ints:
        """Return the likeliest class of (n, d) features."""
        return np.asarray(self.members(features).mean(axis=0).argmax(axis=1), dtype=np.int64)


def mean_iou(said: Ints, truth: npt.NDArray[Any], classes: Sequence[int]) -> float:
    """Return the mean intersection over union of the given classes; unlabelled pixels (-1) are left out."""
    good = truth >= 0
    said, truth = said[good], truth[good]
    found = []
    for c in classes:
        either = int(((said == c) | (truth == c)).sum())
        found.append(float(((said == c) & (truth == c)).sum()) / either if either else 0.0)
    return float(np.mean(found)) if found else 0.0


def replay(table: LabelledTable, name: str, sampler: Sampler, seed: int, options: ReplayOptions) -> Replay:
    """Label batch after batch as the sampler asks, learn, and judge on the blocks kept apart.

    The same table, sampler, seed and options give the same curve. All samplers of one seed share blocks and trees.
    """
    pool, test = split_by_block(table, options, seed)
    present = np.intersect1d(np.unique(table.labels[test]), np.unique(table.labels[pool]))
    classes = [int(c) for c in present if c >= 0]
    judge = _Judge(table, test, classes, options, seed)
    full = judge.score(pool)
    looks = _chip_features(table)[pool]
    budget = min(options.budget, len(pool))
    labelled = np.zeros(len(pool), dtype=bool)
    labels: list[int] = []
    scores: list[float] = []
    held_since: int | None = None
    while labelled.sum() < budget:
        have = int(labelled.sum())
        wanted = options.first if have == 0 else max(options.least, round(have * options.growth))
        model = judge.last if name not in WITHOUT_MODEL else None
        candidates = _candidates(table, pool, labelled, looks, model)
        chosen = sampler(candidates, min(wanted, budget - have), seed * 1000 + len(labels))
        labelled[chosen.order] = True
        labels.append(int(labelled.sum()))
        scores.append(judge.score(pool[labelled]))
        held_since = _held(scores, full * options.target)
        if options.stop_after and held_since is not None and len(scores) - held_since > options.stop_after:
            break
    return Replay(
        sampler=name, seed=seed, labels=tuple(labels), scores=tuple(scores), full_score=full, pool=len(pool),
        reached=labels_to(labels, scores, full * options.target),
    )  # fmt: skip


def _held(scores: Sequence[float], wanted: float) -> int | None:
    """Return the first round at which the wanted score is reached and still there one round later."""
    return next((i for i in range(len(scores) - 1) if min(scores[i], scores[i + 1]) >= wanted), None)


def labels_to(labels: Sequence[int], scores: Sequence[float], wanted: float) -> float | None:
    """Return how many labels reach a score and hold it one round later, interpolated between rounds; None: never."""
    at = _held(scores, wanted)
    if at is None:
        return None
    if at == 0 or scores[at] == scores[at - 1]:
        return float(labels[at])
    share = (wanted - scores[at - 1]) / (scores[at] - scores[at - 1])
    return float(labels[at - 1] + np.clip(share, 0.0, 1.0) * (labels[at] - labels[at - 1]))


class _Judge:
    def __init__(
        self, table: LabelledTable, test: Ints, classes: Sequence[int], options: ReplayOptions, seed: int
    ) -> None:
        self._table = table
        self._options = options
        self._seed = seed
        self._classes = classes
        self._features = table.features[test].reshape(-1, table.features.shape[2])
        self._truth = table.labels[test].reshape(-1)
        self.last: PixelModel | None = None

    def score(self, rows: Ints) -> float:
        """Learn from chips and return the mean IoU on the test blocks."""
        features = self._table.features[rows].reshape(-1, self._table.features.shape[2])
        labels = self._table.labels[rows].reshape(-1)
        if len(np.unique(labels[labels >= 0])) < 1:
            self.last = None
            return 0.0
        self.last = PixelModel(len(self._table.class_names), self._options.trees, self._seed).fit(features, labels)
        return mean_iou(self.last.predict(self._features), self._truth, self._classes)


def _chip_features(table: LabelledTable) -> F64:
    return standardised(np.concatenate([table.features.mean(axis=1), table.features.std(axis=1)], axis=1))


def _candidates(table: LabelledTable, pool: Ints, labelled: Bools, looks: F64, model: PixelModel | None) -> Candidates:
    k = len(table.class_names)
    counts = np.zeros(k)
    for row in pool[labelled]:
        shown = np.unique(table.labels[row])
        counts[shown[shown >= 0]] += 1
    base: dict[str, Any] = {
        "features": looks,
        "xy_m": table.xy_m[pool],
        "labelled": labelled,
        "spacing_m": table.spacing_m,
        "class_names": table.class_names,
        "label_counts": counts,
    }
    if model is None or not labelled.any():
        return Candidates(**base)
    m = table.features.shape[1]
    step = max(1, m // 16)
    part = table.features[pool][:, ::step]
    members = model.members(part.reshape(-1, part.shape[2])).reshape(-1, len(pool), part.shape[1], k)
    mean = members.mean(axis=0)
    doubt = pixel_doubt(mean)
    worst = max(1, part.shape[1] // 8)
    presence = np.partition(mean, part.shape[1] - worst, axis=1)[:, -worst:].mean(axis=1)
    return Candidates(
        **base,
        shares=mean.mean(axis=1),
        presence=np.clip(presence, 0.0, 1.0),
        uncertainty={**doubt, "committee": committee_doubt(members)},
    )
