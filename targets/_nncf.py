"""int8 for OpenVINO: NNCF's post-training quantization, and imports that keep its companions out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnx import ModelProto

from sprue.errors import SprueError
from sprue.passes.quantize_static import calibration_feeds, check_weights
from sprue.passes.quiet import quiet

if TYPE_CHECKING:
    from openvino import Model

    from sprue.backend import Samples


RECURRENT = ["LSTMSequence", "GRUSequence", "RNNSequence"]
"""OpenVINO's names."""


@contextlib.contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Import as if these were not installed: telemetry calls home; torch costs a second and is not used."""
    hidden = [p for p in packages if p not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is how Python marks "not there"
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]


def quantize(
    made: Model, model: ModelProto, calibration: Samples, float_layers: list[str], *, narrow: bool
) -> Model:
    """int8 by NNCF's post-training quantization, on every calibration sample. `model`: `made` in ONNX.

    `float_layers`: patterns of names that stay in float. `narrow`: keep weights within 7 bits. Raises
    SprueError when the weights or the data cannot be used, or NNCF fails.

    NNCF would take the mean of the samples' ranges, which clips; we take the widest. It would keep only the
    first layer's weights within 7 bits; x86 without VNNI needs that for all of them, and NNCF offers nothing
    between that and all 8 (`sprue.passes.saturation` does, for onnxruntime). Its SmoothQuant moved a
    small masked transformer 20 times further from float than leaving it out (0.17 against 0.0075). Recurrent
    layers stay in float: behind a quantized layer OpenVINO does not load what NNCF makes of an LSTM
    ("expects Constant for port 5"), and it computes them in float anyway.
    """
    check_weights(model)
    feeds = list(calibration_feeds(model, calibration, chunk=1))
    with quiet(), hidden("openvino_telemetry", "torch"):
        import nncf
        from nncf.quantization.advanced_parameters import OverflowFix
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        advanced = nncf.AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.ENABLE if narrow else OverflowFix.DISABLE,
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=-1),
        )
        has = {n.op_type for n in model.graph.node}
        transformer = "Attention" in has or {"LayerNormalization", "Softmax"} <= has
        try:
            return nncf.quantize(
                made,
                nncf.Dataset(feeds),
                subset_size=len(feeds),
                ignored_scope=nncf.IgnoredScope(patterns=float_layers, types=RECURRENT, validate=False),
                advanced_parameters=advanced,
                model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            )
        except Exception as error:  # NNCF's errors and OpenVINO's share no base class but Exception
            raise SprueError(
                f"NNCF could not quantize the model: {first_reason(error)}",
                remedy="leave 'int8-static' out of `precision` for openvino",
            ) from error


def first_reason(error: Exception) -> str:
    """The lines of an OpenVINO message that say something: without source places and advertisement."""
    lines = [line.strip(" -\t") for line in str(error).splitlines()]
    noise = ("Exception from", "Check '", "FrontEnd API failed", "To facilitate", "Summary", "Model wasn't")
    kept = [line for line in lines if line and not line.startswith(noise)]
    return "; ".join(kept[:2]) or str(error).strip()
