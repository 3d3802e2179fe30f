"""Band arithmetic such as "(b4-b1)/(b4+b1)": numbers, bands, brackets and a few functions, nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.errors import InputError

_BAND = re.compile(r"\bb(\d+)\b")
_TOKEN = re.compile(r"\s*(b\d+|\d+\.?\d*(?:[eE][-+]?\d+)?|sqrt|log10|log|abs|where|\*\*|[-+*/(),<>])")


def bands_in(expression: str) -> tuple[int, ...]:
    """Return the bands that an expression names, ascending.

    Raises:
        InputError: it holds something other than arithmetic, or no band.
    """
    place = 0
    text = expression.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise InputError(
                f"the expression {expression[:120]!r} holds {text[place : place + 12]!r}; allowed are b1, b2 …, "
                "numbers, + - * / ** < >, brackets, sqrt, log, log10, abs, where"
            )
        place = match.end()
    found = tuple(sorted({int(index) for index in _BAND.findall(text)}))
    if not found:
        raise InputError(f"the expression {expression[:120]!r} names no band; write b1, b2 …")
    return found


def evaluate(expression: str, array: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.float32]:
    """Evaluate over (band, row, col) values of the given bands; (row, col) float32, NaN where undefined.

    Raises:
        InputError: it is malformed.
    """
    import numexpr

    bands_in(expression)
    values = {f"b{index}": plane.astype(np.float32) for index, plane in zip(bands, array, strict=True)}
    try:
        with np.errstate(all="ignore"):
            result = numexpr.evaluate(expression, local_dict=values, global_dict={})
    except (SyntaxError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise InputError(f"the expression {expression[:120]!r} can't be evaluated: {error}") from error
    out = np.asarray(result, dtype=np.float32)
    out[~np.isfinite(out)] = np.nan
    return np.broadcast_to(out, array.shape[1:])
