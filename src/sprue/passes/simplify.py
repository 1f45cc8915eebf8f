"""Simplify: fix the batch if asked, fold what is constant, fuse what ONNX itself can express.

The folding is onnxruntime's own (level "basic": constant folding, Conv + BatchNormalization, dropped
identities), which promises to stay within standard ONNX operators; that promise is checked.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import onnx
import onnx.inliner
from onnx import ModelProto

from sprue.errors import SprueError
from sprue.graph import normalise, serialise, with_batch
from sprue.passes.normal_form import foreign_nodes, infer_shapes, normal_form
from sprue.passes.quiet import quiet

if TYPE_CHECKING:
    from sprue.backend import Samples


CHANGING = ["DoubleQDQPairsRemover", "TransposeOptimizer", "WeightBiasQuantization"]
"""Of the basic level, what changes results between QDQ pairs: it makes one pair of two with different zero
points, where either saturates; puts a pair before a Transpose, where others read, too; rounds a float bias.
"""
WRITTEN_OUT = "_inlfunc_"
"""How onnxruntime begins the names of what it writes out of an operator's definition."""


@dataclass(frozen=True)
class Simplify:
    """Fold constants and shapes; with `batch`, fix axis 0 of every input first.

    Before::

        x[batch,1,8,8] -> Conv -> BatchNormalization -> Relu -> Shape -> Gather -> Concat -> Reshape -> y

    After `Simplify(batch=1)`::

        x[1,1,8,8] -> Conv -> Relu -> Reshape -> y          (the new shape is an initializer)

    With `batch=None` the batch axis stays as it is, symbolic or not. Inputs and outputs keep names, order and
    dtypes; the operator set keeps its version. With `whole`, a model of which onnxruntime would write out an
    operator, because it lacks it in this operator set, is not folded.
    """

    batch: int | None = None
    whole: bool = False

    version: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("onnx", "onnxruntime")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The simplified model. Raises SprueError for a graph that is not valid, naming what is wrong."""
        made = _constants_are_no_inputs(normalise(model))
        if made.functions:
            made = onnx.inliner.inline_local_functions(made)
        made = with_batch(made, self.batch) if self.batch is not None else infer_shapes(made)
        folded = _fold(made)
        if self.whole and any(o.startswith(WRITTEN_OUT) for n in folded.graph.node for o in n.output):
            folded = made
        folded.ir_version = made.ir_version
        return _keep_known_outputs(made, normal_form(folded))


def _constants_are_no_inputs(model: ModelProto) -> ModelProto:
    """IR 3 lists weights among the inputs, as values that a caller may override: nothing would be folded."""
    constant = {t.name for t in model.graph.initializer}
    fed = [v for v in model.graph.input if v.name not in constant]
    if len(fed) < len(model.graph.input):
        kept = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in fed]
        model.graph.ClearField("input")
        model.graph.input.extend(kept)
        model.ir_version = max(model.ir_version, 4)
    return model


def _fold(model: ModelProto) -> ModelProto:
    """What onnxruntime's basic level makes of it; the model itself where that level cannot do it.

    It cannot where onnxruntime lacks the operator (another backend may have it), where its optimiser stumbles
    over a graph that is valid all the same, and where nothing but constants would be left.
    """
    try:
        folded = _optimised(model)
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
            raise SprueError(
                f"the ONNX graph is not valid: {first_line(error)}", remedy="export the model again"
            ) from error
        return model
    stays_standard = len(foreign_nodes(folded)) == len(foreign_nodes(model))
    return folded if stays_standard and folded.graph.node else model


def _optimised(model: ModelProto) -> ModelProto:
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="sprue-simplify-") as folder:
        path = Path(folder) / "simplified.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.disable_prepacking", "1")  # nothing is run
        paired = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
        with quiet():
            ort.InferenceSession(
                serialise(model),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=CHANGING if paired else [],
            )
        return onnx.load_model_from_string(path.read_bytes())


def first_line(error: Exception) -> str:
    """The first line of an onnxruntime message, without its error code and the place in its source."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"/onnxruntime_src/\S+ .* was false\. ", "", text.split(" : ", 3)[-1])


def _keep_known_outputs(before: ModelProto, after: ModelProto) -> ModelProto:
    """Where folding lost an output's shape (inference knows less of the new nodes), keep the known one."""
    known = {v.name: v for v in before.graph.output}
    for value in after.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            value.CopyFrom(known[value.name])
    return after
