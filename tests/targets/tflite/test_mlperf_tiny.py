"""The MLPerf Tiny networks, rebuilt in ONNX from Google's own .tflite files: ours against theirs.

Same outputs, never a larger file, and the latency of both printed (one thread, interleaved).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from .build import Arrays, lowered_runner, model, worst

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
DATA = Path(os.environ.get("SPRUE_DATA", str(Path(__file__).parents[4] / "shared" / "data"))) / "mlperf-tiny"
FILES = ["ad01_fp32", "pretrainedResnet", "vww_96_float"]
"""Not kws_ref_model_float32, whose weights are int8 whatever its name says."""
each_file = pytest.mark.parametrize("name", FILES)
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="needs the MLPerf Tiny models; SPRUE_DATA names their folder"
)


class Rebuilt:
    """The ONNX graph of a TFLite file of convolutions, pools, additions and dense layers; NCHW inside."""

    def __init__(self, data: bytes) -> None:
        from sprue.targets.tflite.flatbuffer import read, schema

        self.s, self.file = schema(), read(data)
        self.graph = self.file.subgraphs[0]
        self.codes = {v: k for k, v in vars(self.s.BuiltinOperator).items() if isinstance(v, int)}
        self.nodes: list[Any] = []
        self.weights: Arrays = {}
        shape = [int(d) for d in self.graph.tensors[self.graph.inputs[0]].shape]
        self.values = {
            int(self.graph.inputs[0]): self.add("Transpose", ["x"], perm=[0, 3, 1, 2])
            if len(shape) == 4
            else "x"
        }
        for operation in self.graph.operators:
            code = self.file.operatorCodes[operation.opcodeIndex]
            name = self.codes[max(code.builtinCode, code.deprecatedBuiltinCode)]
            made = getattr(self, {"ADD": "addition"}.get(name, name.lower()))(
                operation, operation.builtinOptions
            )
            self.values[int(operation.outputs[0])] = made
        last = self.values[int(self.graph.outputs[0])]
        self.add("Identity", [last], output="y")
        self.model: ModelProto = model(self.nodes, {"x": shape}, ["y"], self.weights)

    def add(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def constant(self, index: int) -> np.ndarray[Any, Any]:
        tensor = self.graph.tensors[index]
        raw = np.asarray(self.file.buffers[tensor.buffer].data, np.uint8)
        return raw.view(np.float32).reshape([int(d) for d in tensor.shape])

    def weight(self, value: np.ndarray[Any, Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(value)
        return name

    def shape(self, index: int) -> list[int]:
        return [int(d) for d in self.graph.tensors[index].shape]

    def activated(self, name: str, options: Any) -> str:
        kinds = self.s.ActivationFunctionType
        if options.fusedActivationFunction == kinds.RELU6:
            bounds = [self.weight(np.array(v, np.float32)) for v in (0, 6)]
            return self.add("Clip", [name, *bounds])
        return self.add("Relu", [name]) if options.fusedActivationFunction == kinds.RELU else name

    def padding(self, options: Any) -> str:
        return "SAME_UPPER" if options.padding == self.s.Padding.SAME else "VALID"

    def conv_2d(self, operation: Any, options: Any) -> str:
        w = self.constant(operation.inputs[1]).transpose(0, 3, 1, 2)
        return self.convolution(operation, options, w, 1)

    def depthwise_conv_2d(self, operation: Any, options: Any) -> str:
        w = self.constant(operation.inputs[1]).transpose(3, 0, 1, 2)
        return self.convolution(operation, options, w, w.shape[0] // options.depthMultiplier)

    def convolution(self, operation: Any, options: Any, w: np.ndarray[Any, Any], group: int) -> str:
        inputs = [self.values[int(operation.inputs[0])], self.weight(w)]
        inputs.append(self.weight(self.constant(operation.inputs[2])))
        strides = [options.strideH, options.strideW]
        made = self.add("Conv", inputs, auto_pad=self.padding(options), strides=strides, group=group)
        return self.activated(made, options)

    def average_pool_2d(self, operation: Any, options: Any) -> str:
        size, strides = [options.filterHeight, options.filterWidth], [options.strideH, options.strideW]
        x = self.values[int(operation.inputs[0])]
        return self.add(
            "AveragePool", [x], kernel_shape=size, strides=strides, auto_pad=self.padding(options)
        )

    def addition(self, operation: Any, options: Any) -> str:
        return self.activated(self.add("Add", [self.values[int(i)] for i in operation.inputs]), options)

    def reshape(self, operation: Any, options: Any) -> str:
        x = self.add("Transpose", [self.values[int(operation.inputs[0])]], perm=[0, 2, 3, 1])
        return self.add("Reshape", [x, self.weight(np.array(self.shape(operation.outputs[0])))])

    def fully_connected(self, operation: Any, options: Any) -> str:
        inputs = [self.values[int(operation.inputs[0])], self.weight(self.constant(operation.inputs[1]))]
        if len(operation.inputs) > 2 and operation.inputs[2] >= 0:
            inputs.append(self.weight(self.constant(operation.inputs[2])))
        return self.activated(self.add("Gemm", inputs, transB=1), options)

    def softmax(self, operation: Any, options: Any) -> str:
        return self.add("Softmax", [self.values[int(operation.inputs[0])]], axis=-1)


def theirs(data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=data, num_threads=1)
    made.allocate_tensors()
    return made


def answer(interpreter: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found: np.ndarray[Any, Any] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found


@each_file
def test_a_rebuilt_network_is_the_same_no_larger_and_as_fast(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from sprue.targets.tflite.flatbuffer import pack
    from sprue.targets.tflite.lower import lower

    data = (DATA / f"{name}.tflite").read_bytes()
    rebuilt = Rebuilt(data).model
    start = time.perf_counter()
    lowered = lower(rebuilt)
    made = pack(lowered.inputs, lowered.outputs)
    seconds = time.perf_counter() - start
    ours, other = lowered_runner(rebuilt), theirs(data)
    x = np.random.default_rng(0).standard_normal(lowered.inputs[0].shape).astype(np.float32)
    assert worst(ours.run({"x": x}), {"y": answer(other, x)}) < 1e-5
    assert len(made) <= len(data)
    times: list[list[float]] = [[], []]
    for _ in range(40):
        for kind in (0, 1):
            begun = time.perf_counter()
            _ = answer(other, x) if kind else ours.run({"x": x})
            times[kind].append(time.perf_counter() - begun)
    fast, slow = (1e3 * float(np.median(t)) for t in times)
    with capsys.disabled():
        print(f"\n{name}: lowered in {seconds:.3f} s, {len(made)} bytes (theirs {len(data)}), ", end="")
        print(f"{fast:.3f} ms (theirs {slow:.3f})")
