"""The gate: rules over columns of geometries, what they find, and what policy does about it."""

from __future__ import annotations

from geolabel.validate.gate import gate
from geolabel.validate.layer import Layer
from geolabel.validate.policy import Policy
from geolabel.validate.rule import Findings, Rule, RuleSpec
from geolabel.validate.run import check, check_stream

__all__ = ["Findings", "Layer", "Policy", "Rule", "RuleSpec", "check", "check_stream", "gate"]
