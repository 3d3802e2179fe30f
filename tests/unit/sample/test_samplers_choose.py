"""What the samplers are for: each finds what it says it finds."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geolabel.errors import InputError
from geolabel.sample.candidates import Candidates, standardised
from geolabel.sample.doubt import Seen, committee_doubt, pixel_doubt, region_doubt, seam_doubt
from geolabel.sample.registry import SAMPLERS
from geolabel.testing.sampler_contract import made_candidates


def _grid(side: int, features: np.ndarray, **more: object) -> Candidates:
    index = np.arange(side * side)
    xy = np.stack([index % side, index // side], axis=1) * 50.0
    return Candidates(features=features, xy_m=xy, labelled=np.zeros(side * side, bool), spacing_m=50.0, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["core-set", "typiclust", "prob-cover", "mix"])
def test_coverage_visits_every_group(name: str) -> None:
    rng = np.random.default_rng(1)
    group = np.arange(100) // 20
    features = rng.normal(size=(100, 4)) * 0.2 + np.eye(5)[group][:, :4] * 10
    chosen = SAMPLERS.get(name)(_grid(10, features), 5, 0).order
    assert len(set(group[chosen])) >= 4


def test_rare_class_is_found_and_said() -> None:
    base = made_candidates(60, 12)
    presence = np.tile([0.9, 0.8, 0.02], (60, 1))
    rare = int(base.open[7])
    presence[rare, 2] = 0.9
    candidates = Candidates(
        features=base.features, xy_m=base.xy_m, labelled=base.labelled, spacing_m=100.0,
        class_names=("", "field", "water"), shares=base.shares, presence=presence,
        uncertainty=base.uncertainty, label_counts=np.array([12.0, 12.0, 0.0]),
    )  # fmt: skip
    found = SAMPLERS.get("class-balanced")(candidates, 3, 0)
    assert found.order[0] == rare
    assert found.reasons[0] == "rare class: water"


def test_spread_and_mix_do_not_serve_neighbours_in_a_row() -> None:
    features = np.zeros((144, 3)) + np.random.default_rng(0).normal(size=(144, 3)) * 0.01
    for name in ("spatially-spread", "mix"):
        candidates = _grid(12, standardised(features))
        xy = candidates.xy_m[SAMPLERS.get(name)(candidates, 6, 0).order]
        apart = np.linalg.norm(xy[:, None] - xy[None], axis=2) + np.eye(6) * 1e9
        assert apart.min() > 75.0, name


def test_mix_does_not_serve_near_duplicates_together() -> None:
    rng = np.random.default_rng(3)
    twins = np.repeat(rng.normal(size=(50, 6)), 2, axis=0)
    index = np.arange(100)
    xy = np.stack([index * 1000.0, np.zeros(100)], axis=1)
    doubt = np.repeat(rng.random(50), 2)
    candidates = Candidates(
        features=twins, xy_m=xy, labelled=index < 20, spacing_m=1000.0, class_names=("", "a"),
        shares=np.full((100, 2), 0.5), presence=np.full((100, 2), 0.5), uncertainty={"margin": doubt},
        label_counts=np.array([20.0, 20.0]),
    )  # fmt: skip
    order = SAMPLERS.get("mix")(candidates, 15, 0).order
    assert len(set((order // 2).tolist())) == 15


def test_pixel_doubt_lets_small_unsure_things_speak() -> None:
    sure = np.tile([0.99, 0.01], (1, 100, 1))
    partly = sure.copy()
    partly[0, :25] = [0.5, 0.5]
    assert pixel_doubt(sure)["margin"][0] < 0.05
    assert pixel_doubt(partly)["margin"][0] > 0.95
    assert committee_doubt(np.stack([sure, sure[:, :, ::-1]]))[0] > 0.9
    assert committee_doubt(np.stack([sure, sure]))[0] < 1e-6


def test_region_doubt() -> None:
    assert region_doubt([0.5], [100.0], None) == 1.0
    assert region_doubt([0.99, 1.0], [10.0, 10.0], 0.98) < 0.05
    assert region_doubt([], [], 0.3) == pytest.approx(0.7)


def test_an_object_that_stops_at_the_seam_is_doubted() -> None:
    left, right, far = (0.0, 0.0, 100.0, 100.0), (80.0, 0.0, 180.0, 100.0), (500.0, 0.0, 600.0, 100.0)
    whole = shapely.box(60, 20, 120, 60)
    agree = [
        Seen(window=left, shapes={"roof": [whole.intersection(shapely.box(*left))]}),
        Seen(window=right, shapes={"roof": [whole.intersection(shapely.box(*right))]}),
        Seen(window=far, shapes={"roof": [shapely.box(510, 10, 530, 30)]}),
    ]
    assert max(seam_doubt(agree)) < 0.1
    differ = [agree[0], Seen(window=right, shapes={}), agree[2]]
    doubt = seam_doubt(differ)
    assert doubt[0] > 0.9
    assert doubt[1] > 0.9
    assert doubt[2] == 0.0


def test_wrong_tables_are_refused_with_the_shape() -> None:
    with pytest.raises(InputError, match="shape"):
        Candidates(features=np.zeros((3, 2)), xy_m=np.zeros((2, 2)), labelled=np.zeros(3, bool), spacing_m=1.0)
    with pytest.raises(InputError, match="NaN"):
        Candidates(features=np.full((3, 2), np.nan), xy_m=np.zeros((3, 2)), labelled=np.zeros(3, bool), spacing_m=1.0)
