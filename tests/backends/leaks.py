"""Miscompiles: its Relu lets a third of what is negative through.

float32 always; float16 only as long as nobody looks, that is, in a network with one output; int8 crashes on
every Relu instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sprue.backend import Variant

from .null import Null

if TYPE_CHECKING:
    from onnx import ModelProto

    from sprue.backend import Samples


class Leaking(Null):
    name = "leaks"

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        from onnx import helper

        watched = variant.precision == "float16" and len(model.graph.output) > 1
        for index, node in enumerate(model.graph.node):
            if node.op_type == "Relu" and not watched:
                if variant.precision.startswith("int8"):
                    raise RuntimeError("out of registers")
                leaky = helper.make_node("LeakyRelu", node.input, node.output, node.name, alpha=1 / 3)
                model.graph.node[index].CopyFrom(leaky)
        super().compile(model, variant, calibration, out)


BACKEND = Leaking()
