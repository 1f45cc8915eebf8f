"""Operators that ONNX does not define by others, or not by such as a backend has: our definitions of them.

One file per family. Each may have `DEFINITIONS` and `FORMS`, operator -> a function that writes it with a
`Writer`, and raises `NotDefined` for a form that it does not cover: such a node stays as it is. `FORMS` are
of operators that backends have kernels for, but not for these (three axes to pool over, training mode), or
for in another notation (QLinearConv).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache

import onnx
from onnx import NodeProto

from sprue.passes.definitions.writer import NotDefined, Writer
from sprue.passes.fold import Array, Known, Shape

Definition = Callable[[Writer], None]


@cache
def definitions(kind: str) -> Mapping[str, Definition]:
    """Operator -> definition, of all modules beside this one. `kind`: DEFINITIONS or FORMS."""
    found: dict[str, Definition] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        found.update(getattr(importlib.import_module(f"{__name__}.{module.name}"), kind, {}))
    return found


def defined(
    node: NodeProto,
    opset: int,
    types: Mapping[str, Known],
    constants: Mapping[str, Array],
    shapes: Mapping[str, Shape],
    *,
    forms_only: bool,
) -> list[NodeProto] | None:
    """Nodes that compute the same as `node`; None where there is no definition of this form of it."""
    name = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    for kind in ("FORMS",) if forms_only else ("DEFINITIONS", "FORMS"):
        definition = definitions(kind).get(name)
        if definition is None:
            continue
        writer = Writer(node, opset, types, constants, shapes)
        try:
            definition(writer)
        except NotDefined:
            continue
        floats = any(types[n][0].kind == "f" for n in node.input if n in types)
        if all(_known(n, opset, floats) for n in writer.made):
            return writer.made
    return None


def _known(node: NodeProto, opset: int, floats: bool) -> bool:
    """Whether the operator set has it: definitions are written in operators of today.

    `floats`: whether they are what is computed with. Equal of floats is of operator set 11.
    """
    if node.op_type == "Equal" and opset < 11 and floats:
        return False
    try:
        onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return False
    return True
