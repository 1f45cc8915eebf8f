"""Run the ONNX backend node tests through `tflite`; a process of its own, which a kernel may crash.

Arguments: the number of the first case. Prints `<number> <outcome> <what> <name> <types>` for each case from
there on, the number before the attempt. Outcomes: pass, frozen (see `outcome`), refused (by the lowering),
error (by LiteRT), wrong, other (types that TFLite has no tensors for).
"""

import sys
import warnings
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper
from sprue.targets.tflite.artifact import contents
from sprue.targets.tflite.flatbuffer import TENSOR_TYPES, pack
from sprue.targets.tflite.lower import lower
from sprue.targets.tflite.run import LiteRtRunner

warnings.simplefilter("ignore")
NAMED = {
    TensorProto.DataType.Value(v.replace("FLOAT32", "FLOAT").replace("FLOAT64", "DOUBLE"))
    for v in TENSOR_TYPES.values()
}
CORE = {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.INT8}
HALF = 2**-9
"""Two units in the last place of float16, in which the expected sums were rounded at each step, ours once."""


def outcome(case: Any) -> tuple[str, str]:
    """As it is; if refused, once more with the vectors and scalars behind the first input made constant.

    The node tests feed axes, scales and sizes as inputs, real models hold them as constants. What passes only
    so is `frozen`.
    """
    first = attempt(case.model, case)
    if first[0] != "refused" or len(case.data_sets) != 1:
        return first
    second = attempt(frozen(case), case)
    return first if second[0] == "refused" else ("frozen" if second[0] == "pass" else second[0], second[1])


def kinds(case: Any) -> str:
    """`core` where inputs and outputs have the types that most kernels have."""
    border = [*case.model.graph.input, *case.model.graph.output]
    return "core" if all(v.type.tensor_type.elem_type in CORE for v in border) else "wide"


def frozen(case: Any) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(case.model)
    kept = []
    for index, (value, given) in enumerate(zip(made.graph.input, case.data_sets[0][0], strict=False)):
        array = numpy_helper.to_array(given) if isinstance(given, TensorProto) else np.asarray(given)
        if index and array.ndim <= 1 and array.dtype != object:
            made.graph.initializer.append(numpy_helper.from_array(array, value.name))
        else:
            kept.append(ValueInfoProto.FromString(value.SerializeToString()))
    del made.graph.input[:]
    made.graph.input.extend(kept)
    return made


def attempt(model: ModelProto, case: Any) -> tuple[str, str]:
    graph = case.model.graph
    border = [*graph.input, *graph.output]
    if any(not v.type.HasField("tensor_type") or v.type.tensor_type.elem_type not in NAMED for v in border):
        return "other", ""
    lowered = lower(model)
    if lowered.findings:
        return "refused", f"{lowered.findings[0].op}: {lowered.findings[0].reason}"
    try:
        data = pack(lowered.inputs, lowered.outputs)
        runner = LiteRtRunner(data, contents(data, case.name), 1, case.name)
        for given, expected in case.data_sets:
            values = [
                numpy_helper.to_array(v) if isinstance(v, TensorProto) else np.asarray(v) for v in given
            ]
            named = {v.name: a for v, a in zip(graph.input, values, strict=False)}
            actual = runner.run({t.name: named[t.name] for t in lowered.inputs})
            for value, wanted in zip(graph.output, expected, strict=True):
                compare(actual[value.name], wanted, case)
    except AssertionError as error:
        return "wrong", " ".join(str(error).split())[:300]
    except Exception as error:
        return "error", " ".join(str(error).split())[:300]
    return "pass", ""


def compare(actual: Any, wanted: Any, case: Any) -> None:
    wanted = numpy_helper.to_array(wanted) if isinstance(wanted, TensorProto) else np.asarray(wanted)
    assert (actual.shape, actual.dtype) == (wanted.shape, wanted.dtype)
    if wanted.dtype.kind not in "fV":
        np.testing.assert_array_equal(actual, wanted)
        return
    rtol = max(case.rtol, HALF if wanted.dtype.itemsize == 2 else 0.0)
    # Expected values are float32, too: where terms cancel to 0, they carry the rounding of the largest.
    largest = float(np.nan_to_num(np.abs(wanted.astype(float)), posinf=0).max(initial=0))
    noise = np.finfo(np.float32).eps * largest
    atol = max(case.atol, noise)
    np.testing.assert_allclose(actual.astype(float), wanted.astype(float), rtol=rtol, atol=atol)


if __name__ == "__main__":
    from onnx.backend.test.case.node import collect_testcases

    cases = collect_testcases(None)
    for number in range(int(sys.argv[1]), len(cases)):
        print(number, end=" ", flush=True)
        print(*outcome(cases[number]), cases[number].name, kinds(cases[number]), sep="\t", flush=True)
