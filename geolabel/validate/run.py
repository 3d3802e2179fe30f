"""Run rules over layers, one by one or a stream of them on several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from geolabel.errors import PluginError
from geolabel.plugins import boundary
from geolabel.validate.layer import Layer
from geolabel.validate.rule import Findings, Rule

S = TypeVar("S")
T = TypeVar("T")


def check(layer: Layer, rules: Sequence[Rule]) -> list[tuple[Rule, Findings]]:
    """Return what each rule finds in a layer.

    Raises:
        PluginError: a rule failed or named rows that do not exist.
    """
    out = []
    for rule in rules:
        with boundary("rule", rule.spec.name):
            found = rule.check(layer)
        rows = len(layer) if rule.spec.scope == "record" else len(layer.pixel)
        if len(found) and (int(found.rows.min()) < 0 or int(found.rows.max()) >= rows):
            raise PluginError(f"The rule {rule.spec.name!r} names row {int(np.max(found.rows))}; there are {rows}.")
        out.append((rule, found))
    return out


def check_stream(batches: Iterable[S], work: Callable[[S], T], *, threads: int = 2) -> Iterator[T]:
    """Yield `work(batch)` of every batch, in order, on several threads; shapely leaves the interpreter to the others.

    Not more than twice as many batches as threads are held at a time, so that memory stays flat.
    """
    if threads <= 1:
        yield from map(work, batches)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="validate") as pool:
        waiting: deque[Future[T]] = deque()
        for batch in batches:
            waiting.append(pool.submit(work, batch))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
