"""What cannot work, said before anything is compiled: by NVIDIA's own parser where tensorrt-rtx is installed,
by the table of operators.py elsewhere. Both name the node.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from onnx import ModelProto

from sprue import graph
from sprue.backend import Finding, Variant

from .child import ChildError, ask
from .operators import REMEDY, SUPPORTED, border_findings, operator_findings, opset_findings
from .probe import rtx

PARSER_SECONDS = 20.0
"""The parser answers in 0.1 s warm, 0.5 s when its library is read from disk first."""

WEIGHT_BYTES = {"float32": 4, "float16": 2, "int8-static": 1}


def check(model: ModelProto, variant: Variant) -> list[Finding]:
    if variant.precision not in WEIGHT_BYTES:
        reason = f"TensorRT has no {variant.precision}"
        return [Finding("precision", "", "", reason, f"choose of {', '.join(WEIGHT_BYTES)}")]
    found = [*opset_findings(model), *border_findings(model)]
    refused = parser_refuses(graph.serialise(model)) if rtx() and not found else None
    found += operator_findings(model) if refused is None else [finding(r) for r in refused if counts(r)]
    return found + _size_findings(model, variant)


@lru_cache(maxsize=4)
def parser_refuses(model: bytes) -> tuple[dict[str, Any], ...] | None:
    """The nodes that tensorrt-rtx's parser refuses; None when it could not be asked. Asked once a model."""
    with tempfile.TemporaryDirectory(prefix="sprue-tensorrt-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        try:
            answer = ask("support", {"module": "tensorrt_rtx", "model": str(path)}, seconds=PARSER_SECONDS)
        except ChildError:
            return None
    return None if answer["supported"] != (not answer["refused"]) else tuple(answer["refused"])


def counts(refused: dict[str, Any]) -> bool:
    """Whether TensorRT refuses it too: it has plugins for some operators, tensorrt-rtx has none."""
    return "plugin" not in str(refused["reason"]).lower() or refused["op"] not in SUPPORTED


def finding(refused: dict[str, Any]) -> Finding:
    """The parser's error as a finding. Its text is often a bare assertion, which tells nobody anything."""
    op, code, text = str(refused["op"]), str(refused["code"]), str(refused["reason"])
    if code == "UNSUPPORTED_NODE" and text == "false":
        reason = f"TensorRT does not support {op}"
    elif "Plugin not found" in text:
        reason = f"TensorRT has no operator '{op}' without a plugin"
    else:
        reason = f"TensorRT's parser refuses it: {text}"
    return Finding("operator", str(refused["node"]) or f"node {refused['index']}", op, reason, REMEDY)


def _size_findings(model: ModelProto, variant: Variant) -> list[Finding]:
    """A lower bound: the float weights alone, in the variant's precision."""
    limit = variant.target.limit_flash
    floats = sum(w.size for w in graph.weights(model).values() if w.dtype.kind == "f")
    least = floats * WEIGHT_BYTES[variant.precision]
    if limit is None or least <= limit:
        return []
    reason = f"its weights need at least {least} bytes as {variant.precision}, limit.flash is {limit}"
    return [
        Finding("limit", "", "", reason, "raise limit.flash, choose a smaller precision, or shrink the model")
    ]
