"""What every sampler must keep, as a test suite for built-in and third-party ones.

Use it from a test: ``check_sampler(my_sampler)``.
"""

from __future__ import annotations

import numpy as np

from geolabel.errors import PluginError
from geolabel.sample.candidates import Candidates, Sampler


def made_candidates(
    count: int = 60, labelled: int = 10, *, model: bool = True, seed: int = 0, classes: tuple[str, ...] = ("", "a", "b")
) -> Candidates:
    """Return candidates on a grid with seeded features and, when wished, a model's predictions."""
    rng = np.random.default_rng(seed)
    side = max(1, int(np.ceil(np.sqrt(count))))
    index = np.arange(count)
    xy = np.stack([index % side, index // side], axis=1) * 100.0 + 500_000.0
    mask = np.zeros(count, dtype=bool)
    mask[rng.permutation(count)[:labelled]] = True
    shares = rng.dirichlet(np.ones(len(classes)), count)
    return Candidates(
        features=rng.normal(size=(count, 5)),
        xy_m=xy,
        labelled=mask,
        spacing_m=100.0,
        class_names=classes,
        shares=shares if model else None,
        presence=np.minimum(1.0, shares * 1.5) if model else None,
        uncertainty={k: rng.random(count) for k in ("entropy", "margin", "least_confidence", "committee", "seam")}
        if model
        else {},
        label_counts=np.full(len(classes), float(labelled)),
    )


def check_sampler(sampler: Sampler) -> None:
    """Run a sampler on ordinary and odd input.

    Raises:
        PluginError: it broke the contract; the sentence says how.
    """
    cases = {
        "ordinary": made_candidates(),
        "before the first model": made_candidates(model=False),
        "nothing labelled": made_candidates(labelled=0, model=False),
        "all labelled": made_candidates(labelled=60),
        "one chip": made_candidates(1, 0),
        "one class": made_candidates(classes=("a",)),
        "only background": made_candidates(classes=("",)),
        "no chips": made_candidates(0, 0, model=False),
    }
    same = made_candidates()
    cases["all chips alike"] = Candidates(
        features=np.zeros_like(same.features), xy_m=np.zeros_like(same.xy_m), labelled=same.labelled, spacing_m=1.0
    )
    for name, candidates in cases.items():
        for count in (0, 1, 7, 1000):
            _check(sampler, name, candidates, count)


def _check(sampler: Sampler, name: str, candidates: Candidates, count: int) -> None:
    found = sampler(candidates, count, 3)
    wanted = min(count, len(candidates.open))
    rows = found.order.tolist()
    where = f"on the case {name!r} with count {count}"
    if len(rows) != wanted or len(found.reasons) != wanted or len(found.value) != wanted:
        raise PluginError(f"{where} it chose {len(rows)} chips, values or reasons; {wanted} are right")
    if len(set(rows)) != len(rows):
        raise PluginError(f"{where} it chose a chip twice")
    if any(candidates.labelled[row] for row in rows):
        raise PluginError(f"{where} it chose a labelled chip")
    if wanted and (found.value.min() < 0 or found.value.max() > 1 or not np.isfinite(found.value).all()):
        raise PluginError(f"{where} its values leave 0 to 1")
    if any(not reason or len(reason) > 120 for reason in found.reasons):
        raise PluginError(f"{where} a reason is empty or longer than 120 characters")
    again = sampler(candidates, count, 3)
    if again.order.tolist() != rows:
        raise PluginError(f"{where} the same seed gave two orders")
