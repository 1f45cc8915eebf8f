"""TFLite -> ONNX for networks of convolutions, pools, additions and dense layers, with their own numbers.

Float files become float graphs. Files with int8 activations become QDQ graphs that hold the very scales, zero
points, weights and biases: each operation stands between DequantizeLinear and QuantizeLinear, int8 at the
border. Weights that are int8 in a float file become the floats that they stand for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 9


def rebuild(data: bytes, *, softmax: bool = True) -> ModelProto:
    """The ONNX model of a .tflite file: input `x` and output `y`, NHWC as there, with a free batch axis.

    `softmax=False` leaves a last Softmax away, so that `y` are the logits. Raises ValueError for an operation
    that is none of those which such networks have.
    """
    from sprue.targets.tflite.flatbuffer import read

    return _Rebuilt(read(data), softmax).model()


class _Rebuilt:
    """`values`: tensor number -> name of its ONNX value, int8 where the tensor is, NCHW if of 4 axes."""

    def __init__(self, file: Any, softmax: bool) -> None:
        from sprue.targets.tflite.flatbuffer import schema

        self.s, self.file, self.graph = schema(), file, file.subgraphs[0]
        codes = {v: k for k, v in vars(self.s.BuiltinOperator).items() if isinstance(v, int)}
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.input = int(self.graph.inputs[0])
        self.output = int(self.graph.outputs[0])
        first = self.add("Transpose", ["x"], perm=[0, 3, 1, 2]) if self.has_channels(self.input) else "x"
        self.values = {self.input: first}
        for operation in self.graph.operators:
            code = file.operatorCodes[operation.opcodeIndex]
            name = codes[max(code.builtinCode, code.deprecatedBuiltinCode)]
            if name == "SOFTMAX" and not softmax and operation is self.graph.operators[-1]:
                self.output = int(operation.inputs[0])
                break
            self.operation(name, operation)

    def has_channels(self, tensor: int) -> bool:
        return len(self.shape(tensor)) == 4

    def model(self) -> ModelProto:
        last = self.values[self.output]
        if self.has_channels(self.output):
            self.add("Transpose", [last], output="y", perm=[0, 2, 3, 1])
        else:
            self.add("Identity", [last], output="y")
        graph = helper.make_graph(
            self.nodes,
            "mlperf_tiny",
            [self.port("x", self.input)],
            [self.port("y", self.output)],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        opset = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        onnx.checker.check_model(made, full_check=True)
        return made

    def port(self, name: str, tensor: int) -> onnx.ValueInfoProto:
        kind = TensorProto.INT8 if self.quantized(tensor) else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, ["batch", *self.shape(tensor)[1:]])

    def operation(self, name: str, operation: Any) -> None:
        """Add the nodes of one operation; `values` then knows its result."""
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
        result = int(operation.outputs[0])
        made = known[name](operation, operation.builtinOptions)
        if self.quantized(result):
            made = self.add("QuantizeLinear", [made, *self.quantization(result)], output=f"tensor{result}")
        self.values[result] = made

    def add(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], f"{op}_{len(self.nodes)}", **attributes))
        return name

    def shape(self, tensor: int) -> list[int]:
        return [int(d) for d in self.graph.tensors[tensor].shape]

    def quantized(self, tensor: int) -> bool:
        return bool(self.graph.tensors[tensor].type == self.s.TensorType.INT8)

    def real(self, tensor: int) -> str:
        """The value of a tensor as float."""
        name = self.values[int(tensor)]
        if not self.quantized(tensor):
            return name
        return self.add("DequantizeLinear", [name, *self.quantization(tensor)])

    def quantization(self, tensor: int) -> list[str]:
        """Scale and zero point, scalars or one for each channel, in the dtype that is stored."""
        q, stored = self.graph.tensors[tensor].quantization, self.stored(tensor)
        scale, zero = np.asarray(q.scale, np.float32), np.asarray(q.zeroPoint).astype(stored)
        shape = () if scale.size == 1 else (-1,)
        return [self.weight(scale.reshape(shape)), self.weight(zero.reshape(shape))]

    def stored(self, tensor: int) -> np.dtype[Any]:
        kinds = self.s.TensorType
        dtypes = {kinds.INT8: np.int8, kinds.INT32: np.int32, kinds.FLOAT32: np.float32}
        return np.dtype(dtypes[self.graph.tensors[tensor].type])

    def constant(self, tensor: int, axes: tuple[int, ...], *, integer: bool) -> str:
        """A constant with its axes in another order, quantized along what is then the first, if at all.

        As float: itself, or the product with its scale. `integer`: as stored, before a DequantizeLinear.
        """
        given = self.graph.tensors[tensor]
        raw = np.asarray(self.file.buffers[given.buffer].data, np.uint8)
        array = raw.view(self.stored(tensor)).reshape(self.shape(tensor)).transpose(axes)
        if self.stored(tensor) == np.float32:
            return self.weight(array)
        if integer:
            names = [self.weight(array), *self.quantization(tensor)]
            return self.add("DequantizeLinear", names, axis=0)
        q = given.quantization
        scale, zero = (np.asarray(a).reshape(-1, *[1] * (array.ndim - 1)) for a in (q.scale, q.zeroPoint))
        return self.weight(((array.astype(np.float32) - zero) * scale).astype(np.float32))

    def weight(self, value: NDArray[Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(value).reshape(value.shape)  # a scalar stays one
        return name

    def activated(self, name: str, options: Any) -> str:
        kinds = self.s.ActivationFunctionType
        if options.fusedActivationFunction == kinds.RELU6:
            return self.add("Clip", [name, *(self.weight(np.array(v, np.float32)) for v in (0, 6))])
        return self.add("Relu", [name]) if options.fusedActivationFunction == kinds.RELU else name

    def padding(self, options: Any) -> str:
        return "SAME_UPPER" if options.padding == self.s.Padding.SAME else "VALID"

    def convolution(self, operation: Any, options: Any) -> str:
        return self.convolved(operation, options, (0, 3, 1, 2), 1)

    def depthwise(self, operation: Any, options: Any) -> str:
        channels = self.shape(operation.inputs[1])[3]
        return self.convolved(operation, options, (3, 0, 1, 2), channels // options.depthMultiplier)

    def convolved(self, operation: Any, options: Any, axes: tuple[int, ...], group: int) -> str:
        inputs = self.operands(operation, axes)
        strides = [options.strideH, options.strideW]
        made = self.add("Conv", inputs, auto_pad=self.padding(options), strides=strides, group=group)
        return self.activated(made, options)

    def dense(self, operation: Any, options: Any) -> str:
        return self.activated(self.add("Gemm", self.operands(operation, (0, 1)), transB=1), options)

    def operands(self, operation: Any, axes: tuple[int, ...]) -> list[str]:
        """Input, weights with the output channels first, and the bias if there is one."""
        integer = self.quantized(operation.inputs[0])
        names = [self.real(operation.inputs[0]), self.constant(operation.inputs[1], axes, integer=integer)]
        if len(operation.inputs) > 2 and operation.inputs[2] >= 0:
            names.append(self.constant(operation.inputs[2], (0,), integer=integer))
        return names

    def average_pool(self, operation: Any, options: Any) -> str:
        size, strides = [options.filterHeight, options.filterWidth], [options.strideH, options.strideW]
        x, padding = self.real(operation.inputs[0]), self.padding(options)
        return self.add("AveragePool", [x], kernel_shape=size, strides=strides, auto_pad=padding)

    def addition(self, operation: Any, options: Any) -> str:
        return self.activated(self.add("Add", [self.real(i) for i in operation.inputs]), options)

    def reshape(self, operation: Any, options: Any) -> str:
        """Of four axes, whose order is another here."""
        x = self.add("Transpose", [self.real(operation.inputs[0])], perm=[0, 2, 3, 1])
        shape = np.array([-1, *self.shape(operation.outputs[0])[1:]], np.int64)
        return self.add("Reshape", [x, self.weight(shape)])

    def softmax(self, operation: Any, options: Any) -> str:
        return self.add("Softmax", [self.real(operation.inputs[0])], axis=-1)
