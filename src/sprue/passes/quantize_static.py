"""QuantizeStatic: int8 weights and activations as QuantizeLinear/DequantizeLinear pairs (QDQ).

The ranges come from running the calibration samples (onnxruntime's quantizer). QDQ is standard ONNX: every
backend reads the same graph and fuses it into its own int8 kernels.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from sprue.errors import SprueError
from sprue.graph import inputs, normalise, serialise, weights
from sprue.passes.float_region import float_region
from sprue.passes.masks import finite_masks, infinite_weights, masking_nodes
from sprue.passes.normal_form import infer_shapes, normal_form
from sprue.passes.quiet import quiet_onnxruntime
from sprue.passes.saturation import repaired
from sprue.passes.simplify import first_line

if TYPE_CHECKING:
    from sprue.backend import Samples

RECURRENT = ("LSTM", "GRU", "RNN")
CHUNK = 32
"""Samples per run where the batch axis is free."""


@dataclass(frozen=True)
class QuantizeStatic:
    """Insert QDQ pairs around the operators of `op_types` (empty: all that the quantizer knows).

    Before::

        x -> Conv(w, b) -> Relu -> y

    After::

        x -> Q -> DQ -> Conv(DQ(w int8), DQ(b int32)) -> Q -> DQ -> y

    Weights are symmetric int8, one scale per output channel (`per_channel`) or per tensor; biases are int32
    with scale = input scale * weight scale. Activations are int8 or uint8, `symmetric` (zero point 0, as
    TensorRT wants) or not. With asymmetric ones the zero point does what Relu did, so Relu is dropped; with
    symmetric ones Relu stays, with no pair between it and the operator before it.

    `pair_safe` keeps neighbouring weights so small that the sums of their products with u8 activations fit
    into 16 bits, see `sprue.passes.saturation`: x86 processors without VNNI clamp them (wrong results, no
    error). Use it wherever onnxruntime on x86 may run the artifact.

    The nodes through which an attention mask flows stay in float, see `sprue.passes.masks`. So does what lies
    between a recurrent layer, which computes in float, and the next quantized layers or embeddings: on a
    chatbot's BiLSTM 20 int8 steps of error became 1 (see `exclude`).

    `method` is how a range is chosen from what was seen: "minmax", or onnxruntime's "entropy" or "percentile"
    (99.999 %), which keep every activation of every sample in memory.
    """

    per_channel: bool = True
    activations: Literal["int8", "uint8"] = "int8"
    symmetric: bool = False
    pair_safe: bool = False
    method: Literal["minmax", "entropy", "percentile"] = "minmax"
    op_types: tuple[str, ...] = ()
    float_outputs: bool = False
    """Leave the model's outputs as the last operators compute them: an int8 output clips what lies beyond the
    calibrated range (on the intent sample 15 steps of error instead of 2). Not where the runtime needs it."""
    exclude: tuple[str, ...] = ()
    """Names of nodes to leave in float, with what lies between them and the next quantized layers: rounding
    that no integer kernel profits from would only cost exactness."""

    version: ClassVar[int] = 3
    needs_calibration: ClassVar[bool] = True

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("numpy", "onnx", "onnxruntime")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The QDQ model; the border keeps names, order and dtypes.

        `calibration` holds every input, [samples, ...] in the model's dtype. Raises SprueError when it is
        empty, lacks an input, holds NaN or infinity, or when the weights or the activations do.
        """
        check_weights(model)
        model = finite_masks(model)
        # the histogram methods stack the portions, which must then be of one size
        feeds = list(calibration_feeds(model, calibration, chunk=CHUNK if self.method == "minmax" else 1))
        made = self._quantize(model, feeds)
        if self.pair_safe:
            made = repaired(made, weights(model))
        if self.float_outputs:
            made = _without_pairs_at_outputs(made)
        return normal_form(_bypass_pairs_before_relu(made) if self.symmetric else made)

    def _quantize(self, model: ModelProto, feeds: list[dict[str, NDArray[np.generic]]]) -> ModelProto:
        from onnxruntime import quantization as q

        methods = {
            "minmax": q.CalibrationMethod.MinMax,
            "entropy": q.CalibrationMethod.Entropy,
            "percentile": q.CalibrationMethod.Percentile,
        }

        class Reader(q.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
            def __init__(self) -> None:
                self._left = iter(feeds)

            def get_next(self) -> dict[str, NDArray[np.generic]] | None:
                return next(self._left, None)

        with tempfile.TemporaryDirectory(prefix="sprue-quantize-") as folder, quiet_onnxruntime():
            path = Path(folder) / "quantized.onnx"
            try:
                q.quantize_static(
                    normalise(model),
                    path,
                    Reader(),
                    quant_format=q.QuantFormat.QDQ,
                    op_types_to_quantize=sorted(self.op_types) or None,
                    nodes_to_exclude=[
                        *float_region(model, {*self.exclude, *_recurrent(model)}),
                        *masking_nodes(normalise(model)),
                    ],
                    per_channel=self.per_channel,
                    activation_type=q.QuantType.QInt8 if self.activations == "int8" else q.QuantType.QUInt8,
                    weight_type=q.QuantType.QInt8,
                    calibrate_method=methods[self.method],
                    extra_options={"ActivationSymmetric": self.symmetric, "WeightSymmetric": True},
                )
            except Exception as error:  # the quantizer and onnxruntime raise what they like
                refuse_overflow(model, feeds)
                raise SprueError(
                    f"onnxruntime could not quantize the model: {first_line(error)}",
                    remedy="leave 'int8-static' out of `precision`, or exclude the operator it names",
                ) from error
            return onnx.load_model_from_string(path.read_bytes())


def _recurrent(model: ModelProto) -> list[str]:
    return [n.name for n in model.graph.node if n.op_type in RECURRENT]


def check_weights(model: ModelProto) -> None:
    """Raise SprueError naming the weights that hold NaN or infinity. The infinity of a mask is no weight."""
    bad = infinite_weights(model)
    if bad:
        raise SprueError(
            f"the weights {', '.join(repr(n) for n in bad[:3])} hold NaN or infinity and cannot be quantized",
            remedy="train or export the model again; look for a diverged training run",
        )


def calibration_feeds(
    model: ModelProto, calibration: Samples, chunk: int = CHUNK
) -> Iterator[dict[str, NDArray[np.generic]]]:
    """The samples in the portions that the model takes: its fixed batch, or `chunk` where that is free.

    Raises SprueError when an input is missing, of another dtype or rank, holds NaN or infinity, or when there
    are not enough samples for one portion.
    """
    wanted = inputs(model)
    for spec in wanted:
        if spec.name not in calibration:
            raise SprueError(
                f"the calibration data has no '{spec.name}'",
                remedy=f"it has {', '.join(sorted(calibration)) or 'nothing'}; one array per input is needed",
            )
        array = calibration[spec.name]
        fits = array.ndim == len(spec.shape) and all(
            want in (None, have) for want, have in zip(spec.shape[1:], array.shape[1:], strict=True)
        )
        if array.dtype != spec.dtype or not fits:
            raise SprueError(
                f"the calibration data '{spec.name}' is {array.dtype}{list(array.shape)}, "
                f"the model takes {spec}",
                remedy="save it in the dtype and shape of the model's input",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            sample = int(np.argwhere(~np.isfinite(array))[0][0])
            raise SprueError(
                f"the calibration data '{spec.name}' holds NaN or infinity (first in sample {sample})",
                remedy="drop or repair that sample: one such value ruins every quantization range",
            )
    batch = next((s.shape[0] for s in wanted if s.shape and s.shape[0] is not None), chunk)
    free = all(s.shape and s.shape[0] is None for s in wanted)
    count = min((len(calibration[s.name]) for s in wanted), default=0)
    usable = count if free else count - count % batch
    if usable == 0:
        raise SprueError(
            f"{count} calibration samples are not enough" + ("" if free else f" for a batch of {batch}"),
            remedy="give at least one sample; about 100 representative ones is usual",
        )
    for start in range(0, usable, batch):
        yield {s.name: np.ascontiguousarray(calibration[s.name][start : start + batch]) for s in wanted}


def _without_pairs_at_outputs(model: ModelProto) -> ModelProto:
    """Gemm -> Q -> DQ -> output becomes Gemm -> output, where nothing else reads between."""
    producers = {o: n for n in model.graph.node for o in n.output}
    reads = Counter(name for node in model.graph.node for name in node.input)
    for output in model.graph.output:
        after = producers.get(output.name)
        before = producers.get(after.input[0]) if after and after.op_type == "DequantizeLinear" else None
        if after is None or before is None or before.op_type != "QuantizeLinear":
            continue
        source = producers.get(before.input[0])
        if source is None or reads[output.name] or reads[before.output[0]] > 1 or reads[before.input[0]] > 1:
            continue
        slot = list(source.output).index(before.input[0])
        source.output[slot] = output.name
        model.graph.node.remove(after)
        model.graph.node.remove(before)
    return model


def _bypass_pairs_before_relu(model: ModelProto) -> ModelProto:
    """Conv -> Q -> DQ -> Relu becomes Conv -> Relu: the pair would spend half its range on what Relu drops.

    Only where the pair feeds nothing but Relu; TensorRT fuses Conv and Relu only when nothing is between.
    """
    producers = {o: n for n in model.graph.node for o in n.output}
    readers: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    border = {v.name for v in model.graph.output}
    for node in model.graph.node:
        after = producers.get(node.input[0]) if node.op_type in ("Relu", "Clip") else None
        before = producers.get(after.input[0]) if after and after.op_type == "DequantizeLinear" else None
        if after is None or before is None or before.op_type != "QuantizeLinear":
            continue
        alone = readers[after.output[0]] == 1 and readers[before.output[0]] == 1
        if alone and after.output[0] not in border and before.input[0] in producers:
            node.input[0] = before.input[0]
            model.graph.node.remove(after)
            model.graph.node.remove(before)
    return model


def refuse_overflow(model: ModelProto, feeds: list[dict[str, NDArray[np.generic]]]) -> None:
    """Run the float model; raise SprueError naming the first activation that is NaN or infinite, if any."""
    import onnxruntime as ort

    shown = ModelProto()
    shown.CopyFrom(infer_shapes(model))
    known = {v.name for v in shown.graph.output}
    shown.graph.output.extend(v for v in shown.graph.value_info if v.name not in known)
    wanted = {o for n in shown.graph.node for o in n.output} & {v.name for v in shown.graph.output}
    order = [o for n in shown.graph.node for o in n.output if o in wanted]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(serialise(shown), options, providers=["CPUExecutionProvider"])
    for feed in feeds:
        for name, array in zip(order, session.run(order, feed), strict=True):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise SprueError(
                    f"the activation '{name}' is NaN or infinite on the calibration data",
                    remedy="run the float model on that data: it overflows before any quantization",
                )
