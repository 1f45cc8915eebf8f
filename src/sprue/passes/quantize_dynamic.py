"""QuantizeDynamic: int8 weights; activations are quantized while the model runs. No calibration.

The result uses operators of onnxruntime (DynamicQuantizeLSTM, MatMulInteger): it is for that runtime only.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import onnx
from onnx import ModelProto

from sprue.errors import SprueError
from sprue.graph import normalise
from sprue.passes.normal_form import normal_form
from sprue.passes.quantize_static import check_weights
from sprue.passes.quiet import quiet_onnxruntime
from sprue.passes.simplify import first_line

if TYPE_CHECKING:
    from sprue.backend import Samples

OP_TYPES = ("Attention", "EmbedLayerNormalization", "Gather", "Gemm", "LSTM", "MatMul")
"""What gains from it. Conv is left out: onnxruntime's ConvInteger is 3 to 14 times slower than float."""


@dataclass(frozen=True)
class QuantizeDynamic:
    """Store the weights of `op_types` as int8 and quantize their inputs at run time.

    Before::

        x -> MatMul(w) -> y

    After::

        x -> DynamicQuantizeLinear -> MatMulInteger(w int8) -> Cast -> Mul(scales) -> y

    `reduce_range` keeps weights within 7 bits, see QuantizeStatic: x86 without VNNI saturates otherwise.
    """

    per_channel: bool = False
    reduce_range: bool = True
    op_types: tuple[str, ...] = OP_TYPES

    version: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("numpy", "onnx", "onnxruntime")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The quantized model. Raises SprueError for weights that are NaN or infinite."""
        from onnxruntime import quantization as q

        check_weights(model)
        # LSTM and Attention are quantized with one zero point for all channels unless this is given
        options = {"DefaultTensorType": onnx.TensorProto.FLOAT}
        with tempfile.TemporaryDirectory(prefix="sprue-quantize-") as folder, quiet_onnxruntime():
            path = Path(folder) / "quantized.onnx"
            try:
                q.quantize_dynamic(
                    normalise(model),
                    path,
                    op_types_to_quantize=sorted(self.op_types),
                    per_channel=self.per_channel,
                    reduce_range=self.reduce_range,
                    weight_type=q.QuantType.QInt8,
                    extra_options=options,
                )
            except Exception as error:  # the quantizer raises what it likes
                raise SprueError(
                    f"onnxruntime could not quantize the model: {first_line(error)}",
                    remedy="leave 'int8-dynamic' out of `precision`",
                ) from error
            made = onnx.load_model_from_string(path.read_bytes())
        return normal_form(made)
