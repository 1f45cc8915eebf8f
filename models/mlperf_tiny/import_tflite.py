"""The MLPerf Tiny models as ONNX, read from Google's .tflite files with their weights, into an own project.

    python models/mlperf_tiny/import_tflite.py --out PROJECT
    sprue build PROJECT/recipes/kws.toml

Keyword spotting (DS-CNN), visual wake words (MobileNet), image classification (ResNet-8) and anomaly
detection (autoencoder), from `$SPRUE_DATA/mlperf-tiny` (Apache-2.0, MLCommons). Their data sets are not
there: calibration and evaluation inputs are seeded noise in the range that the int8 originals take, and the
right answers are the float model's own. So a build says how near int8 stays to float on noise, and nothing of
how good the models are. On noise int8 is refused for `kws` (near ties, its softmax swings by up to 0.28) and
for `ad01`; bring data of the real kind to ship them.

The file called `kws_ref_model_float32` holds int8 weights, for which LiteRT rounds activations while it runs;
its ONNX has those weights as floats. The others are float32 throughout.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

PROJECT = Path(__file__).resolve().parents[2]
SEED, CALIBRATION, EVALUATION = 20261125, 64, 64


@dataclass(frozen=True)
class Original:
    """The float file, the int8 file that it is compared with, and what its inputs look like: low to high."""

    float_file: str
    int8_file: str
    low: float
    high: float


ORIGINALS = {
    "kws": Original("kws_ref_model_float32", "kws_ref_model", -123.0, 25.0),
    "vww": Original("vww_96_float", "vww_96_int8", 0.0, 1.0),
    "resnet": Original("pretrainedResnet", "pretrainedResnet_quant", 0.0, 255.0),
    "ad01": Original("ad01_fp32", "ad01_int8", -84.0, 15.0),
}
RECIPE = """model   = "{name}"
version = "1.0.0"

[accept]
max_drop = 0.1                         # answers that may change: noise lies near the borders between classes

[target.mobile]
precision = ["int8"]

[target.cortex-m4]
precision = ["int8"]
"""


class Rebuilt:
    """The ONNX graph of a TFLite file of convolutions, pools, additions and dense layers; NCHW inside.

    `model`: input `x` with a free batch axis, output `y`. Raises ValueError for any other operation.
    """

    def __init__(self, data: bytes) -> None:
        from sprue.targets.tflite.flatbuffer import read, schema

        self.s, self.file = schema(), read(data)
        self.graph = self.file.subgraphs[0]
        self.codes = {v: k for k, v in vars(self.s.BuiltinOperator).items() if isinstance(v, int)}
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, NDArray[Any]] = {}
        shape = self.shape(self.graph.inputs[0])
        first = self.add("Transpose", ["x"], perm=[0, 3, 1, 2]) if len(shape) == 4 else "x"
        self.values = {int(self.graph.inputs[0]): first}
        for operation in self.graph.operators:
            self.values[int(operation.outputs[0])] = self.rebuilt(operation)
        self.add("Identity", [self.values[int(self.graph.outputs[0])]], output="y")
        self.model = self.finished(shape, self.shape(self.graph.outputs[0]))

    def finished(self, inputs: list[int], outputs: list[int]) -> ModelProto:
        kind = TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            "mlperf_tiny",
            [helper.make_tensor_value_info("x", kind, ["batch", *inputs[1:]])],
            [helper.make_tensor_value_info("y", kind, ["batch", *outputs[1:]])],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(made, full_check=True)
        return made

    def rebuilt(self, operation: Any) -> str:
        """The name of the value that the operation's ONNX nodes give."""
        code = self.file.operatorCodes[operation.opcodeIndex]
        name = self.codes[max(code.builtinCode, code.deprecatedBuiltinCode)]
        known = {
            "CONV_2D": self.convolution,
            "DEPTHWISE_CONV_2D": self.depthwise,
            "AVERAGE_POOL_2D": self.average_pool,
            "ADD": self.addition,
            "RESHAPE": self.reshape,
            "FULLY_CONNECTED": self.dense,
            "SOFTMAX": self.softmax,
        }
        if name not in known:
            raise ValueError(f"the operation {name} is none of {', '.join(known)}")
        return known[name](operation, operation.builtinOptions)

    def add(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], f"{op}_{len(self.nodes)}", **attributes))
        return name

    def constant(self, index: int) -> NDArray[Any]:
        """A tensor's numbers; int8 ones times their scale, one for all or one for each of its channels."""
        tensor = self.graph.tensors[index]
        raw = np.asarray(self.file.buffers[tensor.buffer].data, np.uint8)
        if tensor.type != self.s.TensorType.INT8:
            return raw.view(np.float32).reshape(self.shape(index))
        q = tensor.quantization
        along = [-1 if i == q.quantizedDimension else 1 for i in range(len(tensor.shape))]
        scale, zero = (np.asarray(a).reshape(along) for a in (q.scale, q.zeroPoint))
        stored = raw.view(np.int8).reshape(self.shape(index)).astype(np.float32)
        made: NDArray[Any] = ((stored - zero) * scale).astype(np.float32)
        return made

    def weight(self, value: NDArray[Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(value)
        return name

    def shape(self, index: int) -> list[int]:
        return [int(d) for d in self.graph.tensors[index].shape]

    def activated(self, name: str, options: Any) -> str:
        kinds = self.s.ActivationFunctionType
        if options.fusedActivationFunction == kinds.RELU6:
            return self.add("Clip", [name, *(self.weight(np.array(v, np.float32)) for v in (0, 6))])
        return self.add("Relu", [name]) if options.fusedActivationFunction == kinds.RELU else name

    def padding(self, options: Any) -> str:
        return "SAME_UPPER" if options.padding == self.s.Padding.SAME else "VALID"

    def convolution(self, operation: Any, options: Any) -> str:
        return self.convolved(operation, options, self.constant(operation.inputs[1]).transpose(0, 3, 1, 2), 1)

    def depthwise(self, operation: Any, options: Any) -> str:
        w = self.constant(operation.inputs[1]).transpose(3, 0, 1, 2)
        return self.convolved(operation, options, w, w.shape[0] // options.depthMultiplier)

    def convolved(self, operation: Any, options: Any, w: NDArray[np.float32], group: int) -> str:
        x = self.values[int(operation.inputs[0])]
        inputs = [x, self.weight(w), self.weight(self.constant(operation.inputs[2]))]
        strides = [options.strideH, options.strideW]
        made = self.add("Conv", inputs, auto_pad=self.padding(options), strides=strides, group=group)
        return self.activated(made, options)

    def average_pool(self, operation: Any, options: Any) -> str:
        size, strides = [options.filterHeight, options.filterWidth], [options.strideH, options.strideW]
        x = self.values[int(operation.inputs[0])]
        padding = self.padding(options)
        return self.add("AveragePool", [x], kernel_shape=size, strides=strides, auto_pad=padding)

    def addition(self, operation: Any, options: Any) -> str:
        return self.activated(self.add("Add", [self.values[int(i)] for i in operation.inputs]), options)

    def reshape(self, operation: Any, options: Any) -> str:
        x = self.add("Transpose", [self.values[int(operation.inputs[0])]], perm=[0, 2, 3, 1])
        return self.add("Reshape", [x, self.weight(np.array([-1, *self.shape(operation.outputs[0])[1:]]))])

    def dense(self, operation: Any, options: Any) -> str:
        inputs = [self.values[int(operation.inputs[0])], self.weight(self.constant(operation.inputs[1]))]
        if len(operation.inputs) > 2 and operation.inputs[2] >= 0:
            inputs.append(self.weight(self.constant(operation.inputs[2])))
        return self.activated(self.add("Gemm", inputs, transB=1), options)

    def softmax(self, operation: Any, options: Any) -> str:
        return self.add("Softmax", [self.values[int(operation.inputs[0])]], axis=-1)


def write(name: str, original: Original, data: Path, out: Path) -> None:
    """The model's folder and its recipe in the project `out`."""
    import onnxruntime as ort

    made = Rebuilt((data / f"{original.float_file}.tflite").read_bytes()).model
    folder = out / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    (out / "recipes").mkdir(exist_ok=True)
    onnx.save(made, folder / "model.onnx")
    random = np.random.default_rng(SEED)
    shape = [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim][1:]
    samples = random.uniform(original.low, original.high, (CALIBRATION + EVALUATION, *shape))
    samples = samples.astype(np.float32)
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    label = session.run(None, {"x": samples[CALIBRATION:]})[0].argmax(axis=1)
    np.savez_compressed(folder / "calibration.npz", x=samples[:CALIBRATION])
    np.savez_compressed(folder / "evaluation.npz", x=samples[CALIBRATION:], label=label)
    files = '[data]\ncalibration = "calibration.npz"\nevaluation  = "evaluation.npz"\n'
    (folder / "model.toml").write_text(f'source = "model.onnx"\nlicenses = ["Apache-2.0"]\n\n{files}')
    (out / "recipes" / f"{name}.toml").write_text(RECIPE.format(name=name))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the project's folder")
    given = parser.parse_args()
    data = Path(os.environ.get("SPRUE_DATA") or PROJECT.parent / "shared" / "data") / "mlperf-tiny"
    missing = [o.float_file for o in ORIGINALS.values() if not (data / f"{o.float_file}.tflite").is_file()]
    if missing:
        parser.error(f"{data} lacks {missing[0]}.tflite; set SPRUE_DATA to the folder that holds mlperf-tiny")
    for name, original in ORIGINALS.items():
        write(name, original, data, given.out)
        print(f"{name}: {given.out / 'models' / name}")


if __name__ == "__main__":
    main()
