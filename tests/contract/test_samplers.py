"""Every registered sampler keeps the contract."""

from __future__ import annotations

import pytest

from geolabel.sample.candidates import Candidates, Selection
from geolabel.sample.registry import BUILTIN_SAMPLERS, DEFAULT, SAMPLERS
from geolabel.testing.sampler_contract import check_sampler


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_sampler_keeps_the_contract(name: str) -> None:
    check_sampler(SAMPLERS.get(name))


def test_the_default_is_registered() -> None:
    assert DEFAULT in BUILTIN_SAMPLERS


def test_contract_finds_a_sampler_that_chooses_labelled_chips() -> None:
    from geolabel.errors import PluginError
    from geolabel.sample.candidates import select

    def broken(candidates: Candidates, count: int, seed: int) -> Selection:
        del seed
        return select(
            candidates, range(min(count, len(candidates.open))), [0.5] * min(count, len(candidates.open)), "x"
        )

    with pytest.raises(PluginError, match="labelled"):
        check_sampler(broken)
