"""What is done about findings: by policy, never silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args

import orjson

from geolabel.core.issues import Severity
from geolabel.errors import InputError
from geolabel.validate.options import OPTIONS
from geolabel.validate.registry import all_rules, rule_named
from geolabel.validate.rule import Rule

Action = Literal["ignore", "report", "refuse", "exclude", "fix"]
_FIELDS = ("policy", "rules", "options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which rules run and what follows from their findings.

    Attributes:
        policy: What errors lead to: "report" only tells, "refuse" stops, "exclude" leaves records out with their
            reason, "fix" mends what has a fix and leaves out what stays wrong. Warnings are told; "fix" mends them too.
        rules: Other actions by rule code.
        options: Limits by name.
    """

    policy: Literal["report", "refuse", "exclude", "fix"] = "report"
    rules: Mapping[str, Action] = field(default_factory=dict)
    options: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Policy:
        """Read a policy: {"policy": …, "rules": {code or name: action}, "options": {name: number}}.

        Raises:
            InputError: a field, action or option is unknown.
            NotFoundError: a rule is unknown.
        """
        return _read(orjson.dumps(dict(value), option=orjson.OPT_SORT_KEYS))

    def reporting(self) -> Policy:
        """Return the same rules and limits, all findings only told."""
        rules: dict[str, Action] = {c: "ignore" if a == "ignore" else "report" for c, a in self.rules.items()}
        return Policy(policy="report", rules=rules, options=self.options)

    def active(self) -> list[Rule]:
        """Return the rules that run, by code."""
        return [rule for rule in all_rules() if self.action(rule) != "ignore"]

    def action(self, rule: Rule) -> Action:
        """Return what follows from findings of a rule."""
        spec = rule.spec
        own = self.rules.get(spec.code)
        if own is not None:
            return own
        if not spec.on:
            return "ignore"
        if spec.severity is Severity.ERROR:
            if self.policy == "fix":
                return "fix" if spec.fix else "exclude"
            return self.policy
        return "fix" if self.policy == "fix" and spec.fix else "report"


@lru_cache(maxsize=64)
def _read(text: bytes) -> Policy:
    value = orjson.loads(text)
    unknown = sorted(set(value) - set(_FIELDS))
    if unknown:
        raise InputError(f"a policy has no fields {unknown}; it has {', '.join(_FIELDS)}")
    name = value.get("policy", "report")
    if name not in ("report", "refuse", "exclude", "fix"):
        raise InputError(f"the policy is {name!r}; it must be report, refuse, exclude or fix")
    actions: dict[str, Action] = {}
    for rule_name, action in value.get("rules", {}).items():
        rule = rule_named(rule_name)
        if action not in get_args(Action):
            raise InputError(f"the action of rule {rule_name!r} is {action!r}; it must be one of {get_args(Action)}")
        if action == "fix" and not rule.spec.fix:
            raise InputError(f"rule {rule_name!r} has no fix; exclude or report it")
        actions[rule.spec.code] = action
    options = value.get("options", {})
    wrong = sorted(k for k, v in options.items() if k not in OPTIONS or not isinstance(v, int | float))
    if wrong:
        raise InputError(f"options {wrong} are unknown or no numbers; there are {', '.join(OPTIONS)}")
    return Policy(policy=name, rules=actions, options=options)
