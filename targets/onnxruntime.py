"""onnxruntime on the CPU: the artifact is an ONNX file, its larger weights beside it (`sprue.weights`).

The file is optimised only as far as standard ONNX goes (the Simplify pass): onnxruntime's further levels
write operators of its own and layouts of the machine that made them. The session applies those on loading.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from sprue.backend import Availability, Contract, Finding, Offer, Operator, Pass, Profile, Variant, compatible
from sprue.errors import SprueError
from sprue.graph import MAX_MODEL_BYTES, inputs, read_model, serialise
from sprue.passes.compact import compact
from sprue.passes.normal_form import STANDARD_DOMAINS, infer_shapes, nodes, subgraphs
from sprue.passes.quantize_dynamic import OP_TYPES, QuantizeDynamic
from sprue.passes.quantize_static import QuantizeStatic
from sprue.passes.quantize_weights import READERS, QuantizeWeights
from sprue.passes.simplify import Simplify, first_line
from sprue.variant import Settings
from sprue.weights import write_model

from ._findings import (
    Deviation,
    deviation_findings,
    execution,
    flash_findings,
    has_wide_dot,
    precision_findings,
    takes,
)
from ._offers import FLOAT, SMALL, int8_feature, with_feature
from ._portions import FREE, run_in_portions
from ._profiler import repeat, total

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

    from sprue.backend import Samples
    from sprue.facts import Facts
    from sprue.target import Precision, Target

ENTRY = "model.onnx"
LOADER = Path(__file__).with_name("_deployed_onnxruntime.py")
REMEDY = "export the model with another operator or opset for it, or leave onnxruntime out of `backend`"
QUANTIZABLE = ("Conv", "ConvTranspose", "Gemm", "MatMul")

DEVIATIONS = (
    Deviation(
        "Attention",
        "onnxruntime masks qk_matmul_output with infinity, ONNX with the lowest finite number",
        lambda n, a, c: len(n.output) > 3 and bool(n.output[3]) and bool(a.get("is_causal")),
    ),
    Deviation(
        "Attention",
        "onnxruntime fails while running with both a mask and nonpad_kv_seqlen",
        lambda n, a, c: bool(takes(n, 3) and takes(n, 6)),
    ),
    Deviation(
        "BatchNormalization",
        "onnxruntime's training mode returns wrong running statistics",
        lambda n, a, c: bool(a.get("training_mode")),
    ),
    Deviation(
        "ConvInteger",
        "onnxruntime fails while running ConvInteger with padding",
        lambda n, a, c: any(_integers(a.get("pads"))) or a.get("auto_pad") in (b"SAME_UPPER", b"SAME_LOWER"),
    ),
    Deviation(
        "MaxUnpool",
        "onnxruntime does not place values by output_shape",
        lambda n, a, c: bool(takes(n, 2)),
    ),
    Deviation(
        "Resize",
        "onnxruntime samples other points for align_corners with scales",
        lambda n, a, c: a.get("coordinate_transformation_mode") == b"align_corners" and bool(takes(n, 2)),
    ),
)


class OnnxRuntime:
    """float32, int8-dynamic, int8-static (QDQ) and int8-weights, on the CPU execution provider."""

    name = "onnxruntime"
    version = 2
    precisions: tuple[Precision, ...] = ("float32", "int8-dynamic", "int8-static", "int8-weights")
    settings: tuple[str, ...] = ("threads", "spinning", "optimization")
    settings_in_artifact: tuple[str, ...] = ()
    int8_border: tuple[Precision, ...] = ()
    writes_description = False

    def available(self) -> Availability:
        there = find_spec("onnxruntime") is not None
        return Availability(
            there, there, "" if there else "onnxruntime not installed", "" if there else 'pip install "sprue"'
        )

    def tools(self, target: Target | None = None) -> dict[str, str]:
        return {package: version(package) for package in ("onnx", "onnxruntime")}

    def offers(self, facts: Facts, target: Target) -> tuple[Offer, ...]:
        static = Offer(
            "int8-static",
            with_feature("static int8 pays for convolutions: 1.7 to 2.1 times float32", target),
            mixed=True,
        )
        if facts.kind == "convolutional":  # never dynamic: ConvInteger is 3 to 14 times slower than float32
            return (static, FLOAT, SMALL)
        dynamic = with_feature("dynamic int8 pays for products of matrices: 1.6 to 1.9 times float32", target)
        plain = "onnxruntime's own rewriting of transformers cost 6 to 13 %"
        if facts.kind == "transformer":
            offers = (
                Offer("int8-dynamic", dynamic),
                Offer("int8-dynamic", f"{dynamic}; {plain}", {"optimization": "off"}),
                FLOAT,
                Offer("float32", plain, {"optimization": "off"}),
                SMALL,
            )
            exact = replace(static, why=f"{int8_feature(target)} makes static int8 worth trying")
            return (*offers, exact) if int8_feature(target) else offers
        if facts.kind == "recurrent":
            feature = int8_feature(target)
            gates = f"; {feature} multiplies the gates in int8" if feature else ""
            smaller = Offer("int8-dynamic", f"a quarter of the size, and of what each step reads{gates}")
            return (smaller, FLOAT, SMALL)
        spares = replace(static, why="static int8 spares the ranges")
        return (Offer("int8-dynamic", dynamic), spares, FLOAT, SMALL)

    def passes(self, variant: Variant) -> tuple[Pass, ...]:
        """Weights stay within 7 bits on x86 without VNNI, which saturates on 8-bit ones and says nothing."""
        narrow = not has_wide_dot(variant.target)
        quantization: dict[str, tuple[Pass, ...]] = {
            "float32": (),
            "int8-dynamic": (QuantizeDynamic(reduce_range=narrow),),
            "int8-static": (
                QuantizeStatic(
                    activations="uint8", pair_safe=narrow, float_outputs=True, exclude=variant.float_layers
                ),
            ),
            "int8-weights": (QuantizeWeights(half=variant.float_layers),),
        }
        return (Simplify(), *quantization[variant.precision])

    def needs_calibration(self, variant: Variant) -> bool:
        return False

    def check(self, model: ModelProto, variant: Variant) -> list[Finding]:
        quantizable = {"int8-dynamic": OP_TYPES, "int8-weights": READERS}.get(variant.precision, QUANTIZABLE)
        return [
            *precision_findings(model, variant, self.precisions, quantizable),
            *flash_findings(model, variant),
            *_operators_without_kernel(model),
            *deviation_findings(model, DEVIATIONS, REMEDY),
        ]

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        """Write `model.onnx` and `weights/`. Raises SprueError when onnxruntime cannot load it."""
        if variant.precision != "float32":
            model = compact(model)
        data = serialise(model)
        _session(data, _options(variant.settings), where=ENTRY)
        write_model(model, out / ENTRY)

    def load(self, artifact: Path, variant: Variant) -> OnnxRuntimeRunner:
        return OnnxRuntimeRunner(artifact / ENTRY, variant)

    def entry(self, variant: Variant) -> str:
        return ENTRY

    def contract(self, artifact: Path, variant: Variant) -> Contract:
        versions = compatible(version("onnxruntime"))
        return Contract({"onnxruntime": versions}, variant.target.features, loader=LOADER)


class OnnxRuntimeRunner:
    """A session on one ONNX file, with the threads of its variant and no spinning."""

    def __init__(self, path: Path, variant: Variant) -> None:
        """Raises SprueError for a file that is damaged, reaches outside itself, or does not load."""
        model = read_model(path)
        _refuse_surprises(model, str(path))
        self.execution: Literal["native", "stand-in"] = execution(variant)
        self._path, self._settings = path, variant.settings
        self._bytes = sum(p.stat().st_size for p in path.parent.rglob("*") if p.is_file())
        self._specs = inputs(model)
        self._session = _session(serialise(model), _options(variant.settings), where=str(path))
        self._outputs = [o.name for o in self._session.get_outputs()]
        fixed = [s.shape[0] for s in self._specs if s.shape and s.shape[0] is not None]
        self._fixed = bool(fixed)
        # DynamicQuantizeLinear takes one range over the whole batch, so a sample's result would depend on its
        # neighbours: one at a time, as a server at batch 1 does.
        self._size = fixed[0] if fixed else 1 if variant.precision == "int8-dynamic" else FREE

    def run(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        return run_in_portions(self._specs, inputs, self._size, self._once, fixed=self._fixed)

    def profile(self) -> Profile:
        """The size of the files; onnxruntime does not tell what its arenas hold."""
        return Profile(flash=self._bytes)

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """From onnxruntime's profiler, which counts whole microseconds."""
        options = _options(self._settings)
        options.enable_profiling = True
        with tempfile.TemporaryDirectory() as folder:
            options.profile_file_prefix = f"{folder}/profile"
            session = _session(serialise(read_model(self._path)), options, where=str(self._path))
            runs = repeat(lambda: session.run(self._outputs, sample))
            events = json.loads(Path(session.end_profiling()).read_bytes())
        return total(_kernels(events), runs)

    def _once(self, feeds: Mapping[str, NDArray[np.generic]]) -> Mapping[str, NDArray[np.generic]]:
        try:
            made = self._session.run(self._outputs, feeds)
        except Exception as error:  # onnxruntime's errors share no base class but Exception
            raise SprueError(f"onnxruntime failed while running: {first_line(error)}") from error
        return dict(zip(self._outputs, made, strict=True))


def _kernels(events: list[dict[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """Name, type and seconds of each node that ran, without the nodes inside of a Loop or an If."""
    end = 0
    for event in sorted((e for e in events if e["cat"] == "Node"), key=lambda e: (e["ts"], -e["dur"])):
        if event["name"].endswith("_kernel_time") and event["ts"] >= end:
            end = event["ts"] + event["dur"]
            yield event["name"].removesuffix("_kernel_time"), event["args"]["op_name"], event["dur"] / 1e6


def _integers(value: object) -> list[int]:
    return [v for v in value if isinstance(v, int)] if isinstance(value, list) else []


def _options(settings: Settings) -> SessionOptions:
    import onnxruntime as ort

    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.graph_optimization_level = {
        "off": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "all": levels.ORT_ENABLE_ALL,
    }[settings.optimization]
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters is raised
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(settings.spinning)))
    return options


def _session(data: bytes, options: SessionOptions, *, where: str) -> InferenceSession:
    import onnxruntime as ort

    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        raise SprueError(f"onnxruntime does not load it: {first_line(error)}", where=where) from error


def _refuse_surprises(model: ModelProto, where: str) -> None:
    """An artifact is known operators, and weights that are proven: nothing in it points anywhere else."""
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise SprueError(
                f"the tensor '{tensor.name}' lies outside the file",
                where=where,
                remedy="this is not an artifact of sprue; build or fetch it again",
            )
    for node in nodes(model.graph):
        if node.domain not in (*STANDARD_DOMAINS, "com.microsoft") or node.op_type.startswith("EPContext"):
            raise SprueError(
                f"the node '{node.name}' is of the foreign operator {node.domain}.{node.op_type}",
                where=where,
                remedy="this is not an artifact of sprue; build or fetch it again",
            )


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
        for inner in subgraphs(node):
            yield from _tensors(inner)


def _operators_without_kernel(model: ModelProto) -> list[Finding]:
    """Creating a session finds the first such node; where it fails, each kind of node is tried alone."""
    if model.ByteSize() > MAX_MODEL_BYTES:
        return [Finding("limit", "", "", "the model is larger than 2 GiB", "export a smaller model")]
    options = _options(Settings())
    options.add_session_config_entry("session.disable_prepacking", "1")  # weights need not be laid out
    try:
        _session(serialise(model), options, where="")
    except SprueError as error:
        found = list(_nodes_without_kernel(model, options))
        return found or [_finding(model, error.what)]
    return []


def _nodes_without_kernel(model: ModelProto, options: SessionOptions) -> Iterator[Finding]:
    typed = infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*typed.input, *typed.value_info, *typed.output]}
    types |= {t.name: t.data_type for t in typed.initializer}
    tried: dict[object, str] = {}
    for node in model.graph.node:
        if any(i and i not in types for i in node.input) or subgraphs(node):
            continue  # behind an unknown operator nothing is known
        key = (node.domain, node.op_type, *(types.get(i) for i in node.input))
        if key not in tried:
            tried[key] = _try_alone(model, node, types, options)
        if tried[key]:
            yield Finding(
                "operator",
                node.name or next(iter(node.output), ""),
                node.op_type,
                tried[key],
                REMEDY,
            )


def _try_alone(model: ModelProto, node: NodeProto, types: dict[str, int], options: SessionOptions) -> str:
    """Why onnxruntime has no kernel for this node on these input types; "" when it has one."""
    fed = [helper.make_tensor_value_info(i, types[i], None) for i in dict.fromkeys(node.input) if i]
    made = [onnx.ValueInfoProto(name=o) for o in node.output if o]
    alone = helper.make_model(helper.make_graph([node], "alone", fed, made), functions=model.functions)
    alone.opset_import.clear()
    alone.opset_import.extend(model.opset_import)
    alone.ir_version = model.ir_version
    try:
        _session(serialise(alone), options, where="")
    except SprueError as error:
        missing = (
            "during initialization",
            "Could not find an implementation",
            "is not a registered",
            "No Op registered",
            "No opset import",
        )
        return error.what if any(m in error.what for m in missing) else ""
    return ""


def _finding(model: ModelProto, reason: str) -> Finding:
    """onnxruntime's own words, with the node that they name."""
    named = re.search(r"(?:with name|Node name:|[Nn]ode \()\s*'?([^')]+)'?", reason)
    name = named[1] if named else ""
    op = next((n.op_type for n in nodes(model.graph) if n.name == name), "")
    return Finding("operator", name, op, reason, REMEDY)


BACKEND = OnnxRuntime()
