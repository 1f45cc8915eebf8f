"""What the CPU backends' `check` say in the same words: precision that cannot be offered, files too large."""

from __future__ import annotations

import platform
from collections.abc import Collection
from typing import Literal

import numpy as np
from onnx import ModelProto

from sprue.backend import Finding, Variant
from sprue.graph import weights


def precision_findings(
    model: ModelProto, variant: Variant, offered: Collection[str], quantizable: Collection[str]
) -> list[Finding]:
    """An unoffered precision, or an int8 one for a model with nothing to quantize."""
    if variant.precision not in offered:
        return [
            Finding(
                "precision",
                "",
                "",
                f"{variant.backend} does not offer {variant.precision}",
                f"use one of {', '.join(offered)}",
            )
        ]
    has = {n.op_type for n in model.graph.node}
    if variant.precision.startswith("int8") and not has & set(quantizable):
        return [
            Finding(
                "precision",
                "",
                "",
                f"{variant.precision} would change nothing: the model has none of {', '.join(quantizable)}",
                f"leave {variant.precision} out of `precision`",
            )
        ]
    return []


def flash_findings(model: ModelProto, variant: Variant) -> list[Finding]:
    """A limit that even the weights alone, in the smallest type of this precision, exceed."""
    limit = variant.target.limit_flash
    if limit is None:
        return []
    bytes_each = {"float32": 4, "float16": 2, "int8-dynamic": 1, "int8-static": 1}[variant.precision]
    floats = sum(w.size for w in weights(model).values() if w.dtype == np.float32)
    need = floats * bytes_each
    if need <= limit:
        return []
    return [
        Finding(
            "limit",
            "",
            "",
            f"the weights alone are {need} bytes in {variant.precision}, limit.flash is {limit}",
            "use a smaller precision or a smaller model, or raise limit.flash if the device allows it",
        )
    ]


def execution(variant: Variant) -> Literal["native", "stand-in"]:
    """Whether this machine is of the target's kind."""
    here = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    systems = {"darwin": "macos"}
    system = systems.get(platform.system().lower(), platform.system().lower())
    target = variant.target
    return "native" if target.arch in (here, "any") and target.os == system else "stand-in"
