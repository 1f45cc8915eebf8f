"""The border of a quantized .tflite file as 8-bit integers: the QUANTIZE after an input goes, and the
DEQUANTIZE before an output.

As TensorFlow's converter does it for `inference_input_type = tf.int8`. Not for untrusted files.
"""

from __future__ import annotations

from typing import Any

from sprue.border import Border, Edge

from .flatbuffer import TENSOR_TYPES, read, schema, write


def int8_border(data: bytes) -> tuple[bytes, Border]:
    """The file with int8 at its border, and what stands there now.

    Before::

        x -> QUANTIZE -> CONV_2D -> DEQUANTIZE -> y

    After::

        x (int8) -> CONV_2D -> y (int8)

    An input stays float32 unless all that reads it quantizes it to int8 by one scale; so does an output that
    is not dequantized from int8 last.
    """
    model = read(data)
    graph = _Graph(model)
    taken = {graph.name(i): graph.input(k) for k, i in enumerate(graph.subgraph.inputs)}
    given = {graph.name(i): graph.output(k) for k, i in enumerate(graph.subgraph.outputs)}
    graph.without_unused()
    return write(model), Border(taken, given)


class _Graph:
    """The one subgraph of a ModelT."""

    def __init__(self, model: Any) -> None:
        s = schema()
        self.model, self.subgraph = model, model.subgraphs[0]
        names = {v: k for k, v in vars(s.BuiltinOperator).items() if isinstance(v, int)}
        self.codes = [names[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
        self.dtypes = {getattr(s.TensorType, kind): dtype for dtype, kind in TENSOR_TYPES.items()}
        for table in (self.subgraph, *self.subgraph.operators):  # their arrays are views of the file
            table.inputs, table.outputs = [*map(int, table.inputs)], [*map(int, table.outputs)]
        for operation in self.subgraph.operators:
            held = operation.intermediates
            operation.intermediates = None if held is None else [*map(int, held)] or None

    def name(self, tensor: int) -> str:
        return str(self.subgraph.tensors[tensor].name.decode())

    def input(self, place: int) -> Edge:
        """Make an input int8, if that is all that is done with it."""
        border = self.subgraph.inputs[place]
        readers = [o for o in self.subgraph.operators if border in o.inputs]
        edges = [self._edge(o.outputs[0]) if self._is(o, "QUANTIZE") else None for o in readers]
        if not edges or edges[0] is None or any(e != edges[0] for e in edges) or not self._real(border):
            return self._as_it_is(border)
        stored = [o.outputs[0] for o in readers]
        if not {*stored}.isdisjoint(self.subgraph.outputs):
            return self._as_it_is(border)
        for operation in self.subgraph.operators:
            operation.inputs = [stored[0] if i in stored else i for i in operation.inputs]
        self._remove(readers)
        self._stands_for(stored[0], border)
        self.subgraph.inputs[place] = stored[0]
        return edges[0]

    def output(self, place: int) -> Edge:
        """Make an output int8, if it is dequantized last; its readers in the graph keep the real numbers."""
        border = self.subgraph.outputs[place]
        maker = next((o for o in self.subgraph.operators if border in o.outputs), None)
        edge = self._edge(maker.inputs[0]) if maker is not None and self._is(maker, "DEQUANTIZE") else None
        if maker is None or edge is None or not self._real(border):
            return self._as_it_is(border)
        stored = maker.inputs[0]
        if stored in (*self.subgraph.inputs, *self.subgraph.outputs):
            return self._as_it_is(border)
        if not any(border in o.inputs for o in self.subgraph.operators):
            self._remove([maker])
        self._stands_for(stored, border)
        self.subgraph.outputs[place] = stored
        return edge

    def without_unused(self) -> None:
        """Drop the tensors and the operator codes that nothing mentions any more."""
        subgraph, operators = self.subgraph, self.subgraph.operators
        tables = (subgraph, *operators)
        used = {i for t in tables for i in (*t.inputs, *t.outputs)}
        used |= {i for o in operators for i in o.intermediates or ()}
        places = {old: new for new, old in enumerate(sorted(used - {-1}))} | {-1: -1}
        subgraph.tensors = [t for i, t in enumerate(subgraph.tensors) if i in used]
        for table in tables:
            table.inputs = [places[i] for i in table.inputs]
            table.outputs = [places[i] for i in table.outputs]
        codes = {old: new for new, old in enumerate(sorted({o.opcodeIndex for o in operators}))}
        self.model.operatorCodes = [self.model.operatorCodes[old] for old in codes]
        for operation in operators:
            operation.opcodeIndex = codes[operation.opcodeIndex]
            operation.intermediates = [places[i] for i in operation.intermediates or ()] or None
        for entry in self._signatures():
            entry.tensorIndex = places[entry.tensorIndex]

    def _signatures(self) -> list[Any]:
        return [e for s in self.model.signatureDefs or [] for e in (*s.inputs, *s.outputs)]

    def _is(self, operation: Any, code: str) -> bool:
        return str(self.codes[operation.opcodeIndex]) == code

    def _real(self, tensor: int) -> bool:
        return self._as_it_is(tensor).dtype == "float32"

    def _as_it_is(self, tensor: int) -> Edge:
        return Edge(self.dtypes[self.subgraph.tensors[tensor].type])

    def _edge(self, tensor: int) -> Edge | None:
        """How a tensor is stored; None where it is not int8 by one scale."""
        held = self.subgraph.tensors[tensor]
        said = held.quantization
        if self.dtypes[held.type] != "int8" or said is None or said.scale is None or len(said.scale) != 1:
            return None
        return Edge("int8", float(said.scale[0]), int(said.zeroPoint[0]))

    def _remove(self, operations: list[Any]) -> None:
        gone = {id(o) for o in operations}
        self.subgraph.operators = [o for o in self.subgraph.operators if id(o) not in gone]

    def _stands_for(self, stored: int, border: int) -> None:
        """The integers get the name, and the places in the signature, of the real numbers."""
        tensors = self.subgraph.tensors
        tensors[stored].name, tensors[border].name = tensors[border].name, tensors[stored].name
        tensors[stored].shape, tensors[stored].shapeSignature = (
            tensors[border].shape,
            tensors[border].shapeSignature,
        )
        for entry in self._signatures():
            entry.tensorIndex = stored if entry.tensorIndex == border else entry.tensorIndex
