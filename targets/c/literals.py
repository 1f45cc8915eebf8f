"""numpy -> C text: types, literals and identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from .nodes import Array

TYPES = {
    "float16": "uint16_t",
    "float32": "float",
    "float64": "double",
    "bool": "uint8_t",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""numpy dtype -> C type. A bool is one byte, 0 or 1: `_Bool` would make other bytes undefined behaviour.

C99 has no type for float16: its bits travel as an integer, and only Cast looks into them."""


def c_type(dtype: np.dtype[np.generic]) -> str:
    return TYPES[dtype.name]


def c_float(value: float) -> str:
    """A float32 literal that reads back as exactly `value`."""
    number = float(np.float32(value))
    if np.isnan(number):
        return '__builtin_nanf("")'
    if np.isinf(number):
        return "__builtin_inff()" if number > 0 else "-__builtin_inff()"
    short = f"{np.float32(number)!s}"
    text = short if "." in short or "e" in short else short + ".0"
    return text + "f"


def c_double(value: float) -> str:
    if np.isnan(value):
        return '__builtin_nan("")'
    if np.isinf(value):
        return "__builtin_inf()" if value > 0 else "-__builtin_inf()"
    return repr(float(value))


DOUBLE_FUNCTIONS = frozenset({"exp", "floormod", "fmod", "log", "sqrt"})
"""Functions of `runtime/` that are there for double, too."""


def as_double(expression: str) -> str | None:
    """A float32 expression in double; None where a function in it is there for float32 only."""
    called = re.findall(r"\bsprue_(\w+)f\(", expression)
    if not DOUBLE_FUNCTIONS.issuperset(called):
        return None
    made = re.sub(r"\bsprue_(\w+)f\(", r"sprue_\1(", expression).replace("__builtin_inff", "__builtin_inf")
    return re.sub(r"\b(\d+(?:\.\d*)?(?:e[-+]?\d+)?)f\b", r"\1", made)


def c_integer(value: int) -> str:
    """A literal that is in range for its own type: C has no literal for INT32_MIN or INT64_MIN."""
    if value == -(2**63):
        return "INT64_MIN"
    if value == -(2**31):
        return "INT32_MIN"
    if value > 2**63 - 1:
        return f"{value}u"
    return str(value)


def c_literal(value: object, dtype: np.dtype[np.generic]) -> str:
    if dtype.name == "float32":
        return c_float(float(value))  # type: ignore[arg-type]  # an element of an array of `dtype`
    if dtype.name == "float64":
        return c_double(float(value))  # type: ignore[arg-type]
    return c_integer(int(value))  # type: ignore[call-overload]


def c_array(data: Array) -> str:
    """The initializer of an array, in lines of at most about 110 columns."""
    data = data.view(np.uint16) if data.dtype == np.float16 else data
    return "\n".join(_lines(_literals(data.ravel())))


def _literals(flat: Array) -> Iterable[str]:
    """`c_literal` of each element; quick where there may be a million of them."""
    if flat.dtype.itemsize < 4:  # no literal of these types is special
        return map(str, flat.astype(np.int32).tolist())
    if flat.dtype.name == "float32" and np.isfinite(flat).all():
        return (f"{t}f" if "." in t or "e" in t else f"{t}.0f" for t in map(str, flat))
    return (c_literal(v, flat.dtype) for v in flat.tolist())


def _lines(items: Iterable[str]) -> Iterable[str]:
    line: list[str] = []
    width = 3
    for item in items:
        if width + len(item) > 108:
            yield "   " + "".join(line)
            line, width = [], 3
        line.append(f" {item},")
        width += len(item) + 2
    yield "   " + "".join(line)


def identifier(name: str, taken: set[str]) -> str:
    """`name` as a C identifier that is not in `taken`, to which it is added."""
    stem = re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")[:40] or "tensor"
    made, count = stem, 1
    while made in taken:
        count += 1
        made = f"{stem}_{count}"
    taken.add(made)
    return made


def comment(text: str) -> str:
    """`text` as it may stand inside a C comment: nothing in it can end the comment."""
    return (
        "".join(c if c.isprintable() and c != "\\" else "?" for c in text)
        .replace("*/", "* /")
        .replace("/*", "/ *")
    )
