"""Samplers that cover feature space: core-set, TypiClust, ProbCover, and the BADGE-like mix with uncertainty."""

from __future__ import annotations

import numpy as np

from geolabel.sample.candidates import F64, Candidates, Ints, Selection, select
from geolabel.sample.measure import (
    nearest_distance,
    reference_rows,
    squared_distances,
    tie_break,
    typical_distance,
)
from geolabel.sample.single import random

_FAR = "far from all labels"


def core_set(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose greedily the chip farthest from all labelled and chosen ones (Sener and Savarese 2018, k-centre)."""
    rows = candidates.open
    if len(rows) == 0:
        return select(candidates, [], [], [])
    features = candidates.features[rows]
    distance = nearest_distance(candidates, rows, np.flatnonzero(candidates.labelled))
    order, value = [], []
    first = int(np.random.default_rng(seed).integers(len(rows)))
    scale = typical_distance(candidates.features, seed)
    for _ in range(min(count, len(rows))):
        pick = first if np.isinf(distance).all() else int(distance.argmax())
        order.append(pick)
        far = distance[pick] / (distance[pick] + scale) if np.isfinite(distance[pick]) else 1.0
        value.append(far)
        to_pick = np.sqrt(squared_distances(features, features[pick : pick + 1])[:, 0])
        distance = np.minimum(distance, to_pick)
        distance[order] = -1.0
    return select(candidates, rows[np.array(order, dtype=np.int64)], value, _FAR)


def typiclust(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose the most typical chip of each of the largest clusters without labels (Hacohen et al. 2022)."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    rows = candidates.open
    wanted = min(count, len(rows))
    if wanted == 0:
        return select(candidates, [], [], [])
    features = candidates.features
    labelled = np.flatnonzero(candidates.labelled)
    clusters = min(len(labelled) + wanted, 400, len(np.unique(features, axis=0)))
    kind = KMeans if clusters <= 50 else MiniBatchKMeans
    assigned = kind(clusters, n_init=1, random_state=seed).fit_predict(features)
    owned = np.bincount(assigned[labelled], minlength=clusters)
    members = [np.flatnonzero((assigned == c) & ~candidates.labelled) for c in range(clusters)]
    typical = {c: _typicality(features[m]) for c, m in enumerate(members) if len(m)}
    queue = sorted(typical, key=lambda c: (owned[c], -len(members[c])))
    order: list[int] = []
    turn = 0
    while len(order) < wanted:
        for c in queue:
            if turn < len(members[c]) and len(order) < wanted:
                best = np.argsort(-typical[c], kind="stable")
                order.append(int(members[c][best[turn]]))
        turn += 1
    sizes = np.array([len(members[assigned[row]]) for row in order], dtype=np.float64)
    return select(candidates, order, sizes / sizes.max(initial=1.0), "typical of a group without labels")


def _typicality(features: F64, neighbours: int = 20) -> F64:
    if len(features) < 3:
        return np.ones(len(features))
    sample = features[reference_rows(len(features), 0, 500)]
    distance = np.sqrt(squared_distances(features, sample))
    near = np.sort(distance, axis=1)[:, 1 : neighbours + 1]
    return np.asarray(1.0 / (near.mean(axis=1) + 1e-9), dtype=np.float64)


def prob_cover(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose greedily the chip whose ball covers most chips that no chosen or labelled one covers (Yehuda et al. 2022).

    The radius is the distance at which a chip has about eight look-alikes.
    """
    rows = candidates.open
    if len(rows) == 0:
        return select(candidates, [], [], [])
    reference = reference_rows(len(candidates), seed)
    radius = typical_distance(candidates.features, seed)
    near = squared_distances(candidates.features[rows], candidates.features[reference]) <= radius**2
    reached = nearest_distance(candidates, reference, np.flatnonzero(candidates.labelled)) <= radius
    near[:, reached] = False
    gain = near.sum(axis=1).astype(np.float64)
    total = max(len(reference), 1)
    free = np.ones(len(rows), dtype=bool)
    jitter = np.random.default_rng(seed).random(len(rows)) * 1e-3
    order, value = [], []
    for _ in range(min(count, len(rows))):
        pick = int(np.where(free, gain + jitter, -1.0).argmax())
        order.append(pick)
        value.append(gain[pick] / total)
        free[pick] = False
        covered = np.flatnonzero(near[pick])
        gain -= near[:, covered].sum(axis=1)
        near[:, covered] = False
    return select(candidates, rows[np.array(order, dtype=np.int64)], value, "covers the most chips without labels")


def badge(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose by k-means++ over gradient embeddings (after Ash et al. 2020): uncertain and different from each other.

    The gradient of a linear head at the predicted class is (shares − one-hot) ⊗ features; with whole chips instead of
    single pixels the predicted shares stand for the probabilities. By chance before the first model.
    """
    from sklearn.cluster import kmeans_plusplus

    rows = candidates.open
    if candidates.shares is None or len(rows) == 0:
        return random(candidates, count, seed)
    shares = candidates.shares[rows]
    residual = shares - np.eye(shares.shape[1])[shares.argmax(axis=1)]
    features = candidates.features[rows]
    embedding = (residual[:, :, None] * features[:, None, :]).reshape(len(rows), -1)
    size = np.linalg.norm(embedding, axis=1)
    wanted = min(count, len(rows))
    if wanted == 0:
        return select(candidates, [], [], [])
    different = len(np.unique(embedding.round(9), axis=0))
    _, picked = kmeans_plusplus(embedding, n_clusters=min(wanted, different), random_state=seed)
    order = _once(picked, wanted, tie_break(size, seed))
    return select(candidates, rows[order], size[order] / max(float(size.max()), 1e-9), "unsure and unlike the others")


def _once(picked: Ints, wanted: int, value: F64) -> Ints:
    chosen = list(dict.fromkeys(int(row) for row in picked))
    taken = set(chosen)
    rest = [int(row) for row in np.argsort(-value, kind="stable") if int(row) not in taken]
    return np.array([*chosen, *rest][:wanted], dtype=np.int64)
