"""PruneChannels: whole channels go, so that tensors shrink and every runtime gains (Li et al., 2017: by L1).

A channel is one thing in all tensors that it passes through: a convolution's output, its bias, the
normalisation after it, both sides of a residual addition, the input of what reads it. So channels are removed
by group, and a group that reaches something that may not change (an output of the model, an operator whose
channels mean something to it) is left whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from math import prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from sprue.errors import CheckError
from sprue.graph import attributes, normalise, weights
from sprue.passes.normal_form import infer_shapes, normal_form, subgraphs

if TYPE_CHECKING:
    from sprue.backend import Samples

SAME = (
    *("Abs", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu"),
    *("Mish", "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Tanh", "Dropout"),
    *("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"),
)
"""What works on each channel by itself, and leaves it where it is."""
COMBINE = ("Add", "Sub", "Mul", "Div", "PRelu")


@dataclass(frozen=True)
class PruneChannels:
    """Remove the `share` of channels with the smallest L1 norm from every group that may lose some.

    Before::

        x[1,3,8,8] -> Conv(w[16,3,3,3]) -> Relu -> Conv(w[32,16,3,3]) -> y[1,32,8,8]

    After `PruneChannels(0.5)`::

        x[1,3,8,8] -> Conv(w[8,3,3,3]) -> Relu -> Conv(w[32,8,3,3]) -> y[1,32,8,8]

    Nothing is trained anew: the recipe's `accept` says whether what is left is good enough.
    """

    share: float

    version: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("numpy", "onnx")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The smaller model. Raises CheckError, naming what holds them, when no channel can go."""
        made = infer_shapes(normalise(model))
        walk = _Walk(made)
        removable = [g for g in walk.groups() if not g.held and int(self.share * g.size) > 0]
        if not removable:
            held = list(dict.fromkeys(reason for g in walk.groups() for reason in g.held))
            raise CheckError(
                f"no channel can be removed: {'; '.join(held[:3]) or 'no layer has enough of them'}",
                remedy="leave out `prune`, or use another architecture: Conv, Gemm and what is between them",
            )
        for group in removable:
            walk.shrink(group, int(self.share * group.size))
        del made.graph.value_info[:]
        return normal_form(made)


@dataclass
class _Group:
    """Channels that go together. `slots`: (initializer, axis, entries a channel takes along it).

    `makers`: the slots whose weights produce the channels; `held`: why none may go.
    """

    size: int
    slots: list[tuple[str, int, int]] = field(default_factory=list)
    makers: list[tuple[str, int]] = field(default_factory=list)
    depthwise: list[NodeProto] = field(default_factory=list)
    flattened: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    into: _Group | None = None

    def root(self) -> _Group:
        return self if self.into is None else self.into.root()


@dataclass(frozen=True)
class _Channels:
    """Where a tensor's channels are: which group, along which axis, and how many entries each takes."""

    group: _Group
    axis: int = 1
    entries: int = 1


class _Walk:
    """One walk over a graph, in topological order, that finds the groups; then `shrink` changes the graph."""

    def __init__(self, model: ModelProto) -> None:
        self._graph = model.graph
        self._held = weights(model)
        known = [*self._graph.value_info, *self._graph.input, *self._graph.output]
        self._shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in known}
        self._readers: dict[str, int] = {}
        for name in (i for n in self._graph.node for i in n.input):
            self._readers[name] = self._readers.get(name, 0) + 1
        self._at: dict[str, _Channels] = {}
        self._groups: list[_Group] = []
        for node in self._graph.node:
            self._visit(node)
        for value in self._graph.output:
            self._hold([value.name], f"'{value.name}' is an output of the model")

    def groups(self) -> list[_Group]:
        return [g for g in self._groups if g.into is None]

    def shrink(self, group: _Group, count: int) -> None:
        """Remove the `count` channels with the smallest weights: norms, relative to each tensor's mean."""
        norms = np.zeros(group.size)
        for name, axis in group.makers:
            moved = np.moveaxis(self._held[name].astype(np.float64), axis, 0).reshape(group.size, -1)
            size = np.abs(moved).sum(axis=1)
            norms += size / max(float(size.mean()), 1e-30)
        kept = np.sort(np.argsort(norms, kind="stable")[count:])
        tensors = {t.name: t for t in self._graph.initializer}
        for name, axis, entries in dict.fromkeys(group.slots):
            at = (kept[:, None] * entries + np.arange(entries)).reshape(-1)
            less = np.ascontiguousarray(np.take(numpy_helper.to_array(tensors[name]), at, axis=axis))
            tensors[name].CopyFrom(numpy_helper.from_array(less, name))
        for node in group.depthwise:
            next(a for a in node.attribute if a.name == "group").i = len(kept)
        for name in group.flattened:
            tensors[name].CopyFrom(numpy_helper.from_array(np.array([0, -1], np.int64), name))

    def _visit(self, node: NodeProto) -> None:
        known = attributes(node)
        if subgraphs(node):
            self._hold(list(self._at), f"'{node.name}' ({node.op_type}) may read any tensor")
        elif node.op_type == "Conv" and node.input[1] in self._held:
            self._conv(node, known)
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in self._held:
            self._product(node, known)
        elif node.op_type == "BatchNormalization":
            self._same(node, [(name, 0, 1) for name in node.input[1:5]])
        elif node.op_type in SAME and len(node.output) == 1:
            self._same(node, [])
        elif node.op_type in COMBINE:
            self._combine(node)
        elif node.op_type in ("Flatten", "Reshape"):
            self._flatten(node, known)
        else:
            self._hold(node.input, f"'{node.name}' ({node.op_type}) needs the channels as they are")

    def _conv(self, node: NodeProto, known: dict[str, object]) -> None:
        name, bias = node.input[1], list(node.input[2:3])
        outputs, inputs = self._held[name].shape[:2]
        fed, group = self._at.get(node.input[0]), known.get("group", 1)
        if group == 1:
            if fed is not None:
                self._slot(fed.group, name, 1, fed.entries)
            self._layer(node, outputs, (name, 0), [(b, 0) for b in bias])
        elif inputs == 1 and group == outputs and fed is not None and fed.entries == 1:
            self._same(node, [(name, 0, 1), *((b, 0, 1) for b in bias)])
            fed.group.root().depthwise.append(node)
            fed.group.root().makers.append((name, 0))
        else:
            self._hold([node.input[0]], f"'{node.name}' is a grouped convolution")

    def _product(self, node: NodeProto, known: dict[str, object]) -> None:
        name = node.input[1]
        across = 0 if known.get("transB", 0) else 1
        flat = self._held[name].ndim == 2 and len(self._shapes.get(node.input[0], [])) == 2
        if not flat or known.get("transA", 0):
            self._hold([node.input[0]], f"'{node.name}' is not a product of two matrices")
            return
        if (fed := self._at.get(node.input[0])) is not None:
            self._slot(fed.group, name, 1 - across, fed.entries)
        outputs = self._held[name].shape[across]
        bias = [b for b in node.input[2:3] if self._held.get(b, np.zeros(0)).shape[-1:] == (outputs,)]
        self._layer(node, outputs, (name, across), [(b, self._held[b].ndim - 1) for b in bias])

    def _layer(
        self, node: NodeProto, outputs: int, maker: tuple[str, int], others: Sequence[tuple[str, int]]
    ) -> None:
        group = _Group(outputs)
        self._groups.append(group)
        group.makers.append(maker)
        for name, axis in (maker, *others):
            self._slot(group, name, axis, 1)
        self._at[node.output[0]] = _Channels(group)

    def _same(self, node: NodeProto, slots: Sequence[tuple[str, int, int]]) -> None:
        fed = self._at.get(node.input[0])
        if fed is None:
            return
        for name, axis, _ in slots:
            self._slot(fed.group, name, axis, fed.entries)
        self._at[node.output[0]] = fed

    def _combine(self, node: NodeProto) -> None:
        """Two flows become one group; a constant is one for all channels, or has a value for each."""
        fed = [self._at[i] for i in node.input if i in self._at]
        constants = [i for i in node.input if i in self._held]
        if len(fed) + len(constants) < len(node.input) or not fed:
            self._hold(node.input, f"'{node.name}' ({node.op_type}) adds what has no channels of its own")
            return
        first = fed[0]
        for other in fed[1:]:
            same = (other.axis, other.entries) == (first.axis, first.entries)
            if not same or other.group.root().size != first.group.root().size:
                self._hold(node.input, f"'{node.name}' ({node.op_type}) combines different channels")
                return
            _join(first.group.root(), other.group.root())
        rank = len(self._shapes.get(node.output[0], []))
        for name in constants:
            shape = self._held[name].shape
            axis = first.axis - rank + len(shape)
            if prod(shape) > 1 and not (
                0 <= axis < len(shape)
                and shape[axis] == first.group.root().size * first.entries == prod(shape)
            ):
                self._hold(node.input, f"'{node.name}' ({node.op_type}) has a constant of another shape")
                return
            if prod(shape) > 1:
                self._slot(first.group, name, axis, first.entries)
        self._at[node.output[0]] = first

    def _flatten(self, node: NodeProto, known: dict[str, object]) -> None:
        """[N, C, H, W] -> [N, C * H * W]: each channel takes H * W entries in a row from here on."""
        fed, shape = self._at.get(node.input[0]), self._shapes.get(node.input[0], [])
        made = self._shapes.get(node.output[0], [])
        if fed is None:
            return
        flat = len(made) == 2 and len(shape) >= 2 and all(shape[2:]) and fed.axis == 1
        if node.op_type == "Reshape":
            target = self._held.get(node.input[1])
            flat = flat and target is not None and self._readers[node.input[1]] == 1
            flat = flat and target is not None and target.tolist()[0] in (0, -1, 1)
            fed.group.root().flattened += [node.input[1]] if flat else []
        elif known.get("axis", 1) != 1:
            flat = False
        if not flat:
            self._hold([node.input[0]], f"'{node.name}' ({node.op_type}) moves the channels")
            return
        self._at[node.output[0]] = _Channels(fed.group, 1, fed.entries * prod(shape[2:]))

    def _slot(self, group: _Group, name: str, axis: int, entries: int) -> None:
        if name not in self._held or self._readers[name] > 1:
            group.root().held.append(f"'{name}' is shared, or computed while the model runs")
        group.root().slots.append((name, axis, entries))

    def _hold(self, names: Sequence[str], reason: str) -> None:
        for name in names:
            if name in self._at:
                self._at[name].group.root().held.append(reason)


def _join(group: _Group, other: _Group) -> None:
    if group is other:
        return
    for name in ("slots", "makers", "depthwise", "flattened", "held"):
        getattr(group, name).extend(getattr(other, name))
    other.into = group
