"""Every registered geometry rule keeps the contract."""

from __future__ import annotations

import numpy as np
import pytest

from geolabel.core.issues import Severity
from geolabel.errors import PluginError
from geolabel.testing.rule_contract import check_rule
from geolabel.validate.layer import Layer
from geolabel.validate.registry import all_rules, rules
from geolabel.validate.rule import Findings, Rule, RuleSpec


@pytest.mark.parametrize("name", rules().names())
def test_rule_keeps_the_contract(name: str) -> None:
    check_rule(rules().get(name))


def test_codes_are_used_once() -> None:
    codes = [rule.spec.code for rule in all_rules()]
    assert len(set(codes)) == len(codes)


def test_contract_finds_a_rule_that_judges_what_has_no_numbers() -> None:
    def broken(layer: Layer) -> Findings:
        return Findings.of(np.arange(len(layer)))

    spec = RuleSpec(code="BAD001", name="everything", title="x", severity=Severity.ERROR, message="x")
    with pytest.raises(PluginError, match="no numbers"):
        check_rule(Rule(spec=spec, check=broken))
