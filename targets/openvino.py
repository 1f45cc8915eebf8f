"""OpenVINO on the CPU: the artifact is its intermediate representation, `model.xml` and `model.bin`.

OpenVINO and NNCF number the nodes that they add with a counter of the process; here they are renumbered, so
that the same model gives the same bytes. `properties.json` is what `compile_model` is to be given (in the
format that `benchmark_app -load_config` reads).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # only to rewrite what OpenVINO has just written
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from operator import gt
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sprue.backend import Availability, Contract, Finding, Offer, Operator, Pass, Profile, Variant, compatible
from sprue.canonical import canonical
from sprue.errors import SprueError
from sprue.graph import TensorSpec, inputs, serialise
from sprue.passes.float_region import float_region
from sprue.passes.masks import WEIGHTED
from sprue.passes.normal_form import nodes
from sprue.passes.quantize_static import RECURRENT
from sprue.passes.quantize_weights import READERS, QuantizeWeights
from sprue.passes.simplify import Simplify

from ._findings import (
    Deviation,
    deviation_findings,
    execution,
    flash_findings,
    has_wide_dot,
    precision_findings,
    takes,
)
from ._nncf import first_reason, hidden, quantize
from ._offers import FLOAT, SMALL, int8_feature, with_feature
from ._portions import FREE, run_in_portions
from ._profiler import counted

if TYPE_CHECKING:
    from openvino import Core, Model

    from sprue.backend import Samples
    from sprue.facts import Facts
    from sprue.target import Precision, Target

ENTRY = "model.xml"
WEIGHTS = "model.bin"
PROPERTIES = "properties.json"
LOADER = Path(__file__).with_name("_deployed_openvino.py")
MARK = "@onnx"
COUNTED = re.compile(r"[A-Za-z0-9]+_\d+([_/].*)?")
QUANTIZABLE = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU")
REMEDY = "export the model with another operator for it, or leave openvino out of `backend`"
DAMAGED = "the artifact is damaged: build or fetch it again"

DEVIATIONS = (
    Deviation(
        "Attention",
        "OpenVINO aligns the causal mask otherwise when past keys or a window are given",
        lambda n, a, c: (bool(takes(n, 4)) and bool(a.get("is_causal"))) or _windowed(a),
    ),
    Deviation("BitShift", "OpenVINO shifts signed integers otherwise", lambda n, a, c: True),
    Deviation("DFT", "OpenVINO reads the axis and onesided of DFT otherwise", lambda n, a, c: True),
    Deviation("LSTM", "OpenVINO ignores the peepholes of LSTM", lambda n, a, c: bool(takes(n, 7))),
    Deviation(
        "MaxPool",
        "OpenVINO counts a last window that starts in the padding",
        lambda n, a, c: bool(a.get("ceil_mode")) and _may_start_in_padding(a),
    ),
    Deviation("NonMaxSuppression", "OpenVINO pads the result to a fixed size", lambda n, a, c: True),
    Deviation("Resize", "OpenVINO's antialias differs", lambda n, a, c: bool(a.get("antialias"))),
    Deviation("Resize", "OpenVINO's exclude_outside differs", lambda n, a, c: bool(a.get("exclude_outside"))),
    Deviation(
        "Resize",
        "OpenVINO ignores keep_aspect_ratio_policy",
        lambda n, a, c: a.get("keep_aspect_ratio_policy", b"stretch") != b"stretch",
    ),
    Deviation(
        "Resize",
        "OpenVINO samples other points for align_corners with scales",
        lambda n, a, c: a.get("coordinate_transformation_mode") == b"align_corners" and bool(takes(n, 2)),
    ),
    Deviation("RoiAlign", "OpenVINO's mode max differs", lambda n, a, c: a.get("mode") == b"max"),
    Deviation("SpaceToDepth", "OpenVINO ignores mode CRD", lambda n, a, c: a.get("mode") == b"CRD"),
    Deviation(
        "Tile", "OpenVINO returns garbage when repeats is computed", lambda n, a, c: takes(n, 1) not in c
    ),
    Deviation(
        "TopK", "OpenVINO breaks ties otherwise when K is computed", lambda n, a, c: takes(n, 1) not in c
    ),
)


class OpenVino:
    """float32; float16 and int8-weights (so stored, computed in float32); and int8-static (NNCF)."""

    name = "openvino"
    version = 2
    precisions: tuple[Precision, ...] = ("float32", "float16", "int8-static", "int8-weights")
    settings: tuple[str, ...] = ("threads",)
    settings_in_artifact: tuple[str, ...] = ("threads",)
    int8_border: tuple[Precision, ...] = ()
    writes_description = False

    def available(self) -> Availability:
        missing = [package for package in ("openvino", "nncf") if find_spec(package) is None]
        return Availability(
            compiles=not missing,
            executes="openvino" not in missing,
            missing=f"{' and '.join(missing)} not installed" if missing else "",
            install="pip install 'sprue[openvino]'" if missing else "",
        )

    def tools(self, target: Target | None = None) -> dict[str, str]:
        return {package: version(package) for package in ("nncf", "onnx", "openvino")}

    def offers(self, facts: Facts, target: Target) -> tuple[Offer, ...]:
        half = Offer("float16", "half the size, computed in float32", large=True)
        static = with_feature("static int8 pays for convolutions: 1.7 to 2.1 times float32", target)
        if facts.kind == "convolutional":
            return (Offer("int8-static", static, mixed=True, large=True), FLOAT, half, SMALL)
        if facts.kind == "recurrent":
            why = "int8 around the recurrent layers, which stay in float"
            around = Offer("int8-static", why, mixed=True, large=True)
            floats = (FLOAT, half, SMALL)
            return (*floats, around) if _int8_is_smaller_than_half(facts) else floats
        exact = f"full int8 of matrix products, worth trying with {int8_feature(target)}"
        offers = (Offer("int8-static", exact, mixed=True, large=True),) if int8_feature(target) else ()
        return (*offers, FLOAT, half, SMALL)

    def passes(self, variant: Variant) -> tuple[Pass, ...]:
        stored = variant.precision == "int8-weights"
        return (Simplify(), QuantizeWeights(half=variant.float_layers)) if stored else (Simplify(),)

    def needs_calibration(self, variant: Variant) -> bool:
        return variant.precision == "int8-static"

    def check(self, model: ModelProto, variant: Variant) -> list[Finding]:
        """Raises nothing: a model that OpenVINO's importer refuses as a whole is a finding too."""
        quantizable = READERS if variant.precision == "int8-weights" else QUANTIZABLE
        return [
            *precision_findings(model, variant, self.precisions, quantizable),
            *flash_findings(model, variant),
            *_operator_findings(model),
            *deviation_findings(model, DEVIATIONS, REMEDY),
        ]

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        """Write the IR. Raises SprueError when OpenVINO cannot convert the model or NNCF quantize it."""
        runtime = _openvino()
        try:
            made = runtime.Core().read_model(serialise(_marked(model)), b"")
        except RuntimeError as error:
            raise SprueError(
                f"OpenVINO cannot convert the model: {first_reason(error)}", remedy=REMEDY
            ) from error
        made = _keep_inputs(made, model)
        if variant.precision == "int8-weights":  # with VNNI it would round what they are multiplied by, too
            made.set_rt_info("0", ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
        if variant.precision == "int8-static":
            made = quantize(
                made, model, calibration, _patterns(model, variant), narrow=not has_wide_dot(variant.target)
            )
        runtime.save_model(made, out / ENTRY, compress_to_fp16=variant.precision == "float16")
        _renumber(out / ENTRY)
        (out / PROPERTIES).write_bytes(canonical({"CPU": _properties(variant)}))

    def load(self, artifact: Path, variant: Variant) -> OpenVinoRunner:
        return OpenVinoRunner(artifact, variant)

    def entry(self, variant: Variant) -> str:
        return ENTRY

    def contract(self, artifact: Path, variant: Variant) -> Contract:
        versions = compatible(version("openvino"))
        return Contract({"openvino": versions}, variant.target.features, loader=LOADER)


class OpenVinoRunner:
    """One compiled model and one infer request."""

    def __init__(self, artifact: Path, variant: Variant) -> None:
        """Raises SprueError for files that are missing, damaged, or do not load."""
        self.execution: Literal["native", "stand-in"] = execution(variant)
        files = [artifact / name for name in (ENTRY, WEIGHTS, PROPERTIES)]
        for path in files:
            if not path.is_file():
                raise SprueError("the file is missing from the artifact", where=str(path), remedy=DAMAGED)
        self._files, self._variant = files, variant
        self._bytes = sum(p.stat().st_size for p in files)
        core = _core()
        try:
            model = core.read_model(files[0], files[1])
            self._specs = [_spec(port) for port in model.inputs]
            self._outputs = [port.any_name for port in model.outputs]
            self._request = core.compile_model(model, "CPU", _properties(variant)).create_infer_request()
        except (RuntimeError, TypeError) as error:
            raise SprueError(
                f"OpenVINO does not load it: {first_reason(error)}", where=str(files[0]), remedy=DAMAGED
            ) from error
        fixed = [s.shape[0] for s in self._specs if s.shape and s.shape[0] is not None]
        self._fixed = bool(fixed)
        self._size = fixed[0] if fixed else FREE

    def run(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        return run_in_portions(self._specs, inputs, self._size, self._once, fixed=self._fixed)

    def profile(self) -> Profile:
        """The size of the files; OpenVINO does not tell what it allocates."""
        return Profile(flash=self._bytes, notes={"computes in": "float32 where not int8"})

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """From OpenVINO's performance counters, which count whole microseconds."""
        counting = {**_properties(self._variant), "PERF_COUNT": "YES"}
        read = _core().read_model(*self._files[:2])
        request = _core().compile_model(read, "CPU", counting).create_infer_request()
        return counted(lambda: request.infer(sample), lambda: _counters(request.profiling_info))

    def _once(self, feeds: Mapping[str, NDArray[np.generic]]) -> Mapping[str, NDArray[np.generic]]:
        try:
            made = self._request.infer(feeds, share_inputs=True)
        except RuntimeError as error:
            raise SprueError(f"OpenVINO failed while running: {first_reason(error)}") from error
        return dict(zip(self._outputs, made.values(), strict=True))


def _int8_is_smaller_than_half(facts: Facts) -> bool:
    """Where recurrent layers stay in float32, see `quantize`: one byte for the rest instead of two for all.

    It makes them no faster: a chatbot's BiLSTM took 236 us instead of 230.
    """
    recurrent = sum(facts.weights.get(op, 0) for op in RECURRENT)
    return sum(facts.weights.values()) - recurrent > 2 * recurrent


def _counters(nodes: Any) -> list[tuple[str, str, float]]:
    ran = [n for n in nodes if n.status.name == "EXECUTED"]
    return [(n.node_name, n.node_type, n.real_time.total_seconds()) for n in ran]


def _windowed(attributes: Mapping[str, object]) -> bool:
    return any("window" in name for name in attributes)


def _may_start_in_padding(attributes: Mapping[str, object]) -> bool:
    strides, kernel = attributes.get("strides", []), attributes.get("kernel_shape", [])
    wider = isinstance(strides, list) and isinstance(kernel, list) and any(map(gt, strides, kernel))
    pads = attributes.get("pads", [])
    return wider or (isinstance(pads, list) and any(pads))


def _keep_inputs(made: Model, model: ModelProto) -> Model:
    """OpenVINO drops an input that no node reads; a caller feeds it all the same, so put it back."""
    runtime = _openvino()
    there = {name for port in made.inputs for name in port.names}
    for spec in inputs(model):
        if spec.name not in there:
            shape = runtime.PartialShape([-1 if d is None else d for d in spec.shape])
            unread = runtime.opset13.parameter(shape, spec.dtype, spec.name)
            unread.output(0).set_names({spec.name})
            made.add_parameters([unread])
    made.validate_nodes_and_infer_types()
    return made


def _properties(variant: Variant) -> dict[str, str]:
    """Without the precision hint, processors with AMX or AVX512-BF16 would compute float32 in bfloat16.

    Pinned threads of several models on one host would share the same first core.
    """
    return {
        "ENABLE_CPU_PINNING": "NO",
        "INFERENCE_NUM_THREADS": str(variant.settings.threads),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }


def _openvino() -> ModuleType:
    with hidden("openvino_telemetry"):
        import openvino
    return openvino  # type: ignore[no-any-return]  # a module; openvino is not followed


def _core() -> Core:
    return _openvino().Core()


def _patterns(model: ModelProto, variant: Variant) -> list[str]:
    """What the importer makes of layers that stay in float: `Conv`, or `Conv/WithoutBiases` and an Add.

    What makes an output of the model is called like that output.
    """
    recurrent = {n.name for n in model.graph.node if n.op_type in RECURRENT}
    kept = {*float_region(model, {*variant.float_layers, *recurrent}), *_behind_extremes(model)}
    ends = {v.name for v in model.graph.output}
    named = {o for n in model.graph.node if n.name in kept for o in n.output if o in ends}
    return [f"^{re.escape(name)}(/.*)?$" for name in sorted({name + MARK for name in kept} | named)]


def _behind_extremes(model: ModelProto) -> list[str]:
    """ReduceMax, ReduceMin, and what reads them, up to and with the next layer that has weights.

    OpenVINO fuses the rounding before that layer into the reduction, whose int8 result is then wrong: on
    random numbers by 3.7 where 0.1 is right, and on a chatbot's maximum over time 1.9 instead of 0.03.
    """
    found: list[str] = []
    made: set[str] = set()
    for node in model.graph.node:  # in the order of the data
        if node.op_type in ("ReduceMax", "ReduceMin") or made.intersection(node.input):
            found.append(node.name)
            made.update(() if node.op_type in WEIGHTED else node.output)
    return found


def _marked(model: ModelProto) -> ModelProto:
    """A copy whose node names cannot be mistaken for a counted name such as `Reshape_19`."""
    made = ModelProto()
    made.CopyFrom(model)
    for node in nodes(made.graph):
        node.name += MARK
    return made


def _renumber(path: Path) -> None:
    """Name the layers with a counted name by type and position instead, in nested bodies too.

    `Constant_5837` and `Constant_5838_compressed` become `Const.6`. The names of ONNX nodes, which carry
    MARK until here, stay, and so does what OpenVINO and NNCF append to them.
    """
    tree = ET.parse(path)  # noqa: S314  # see the import
    for index, layer in enumerate(tree.iter("layer")):
        name = layer.get("name", "")
        counted = MARK not in name and COUNTED.fullmatch(name)
        layer.set("name", f"{layer.get('type')}.{index}" if counted else name.replace(MARK, ""))
    for element in tree.iter():  # of its indentation nothing but the size of the file depends
        element.text = (element.text or "").strip() or None
        element.tail = None
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _spec(port: object) -> TensorSpec:
    shape = tuple(None if d.is_dynamic else d.get_length() for d in port.partial_shape)  # type: ignore[attr-defined]
    return TensorSpec(port.any_name, np.dtype(port.element_type.to_dtype()), shape)  # type: ignore[attr-defined]


def _operator_findings(model: ModelProto) -> list[Finding]:
    """The operators that OpenVINO's importer names, then those that its CPU plugin leaves out."""
    core = _core()
    try:
        read = core.read_model(serialise(model), b"")
    except RuntimeError as error:
        return _conversion_findings(model, str(error))
    supported = core.query_model(read, "CPU")
    return [
        Finding(
            "operator",
            op.friendly_name,
            op.get_type_name(),
            "OpenVINO's CPU plugin cannot run it",
            REMEDY,
        )
        for op in read.get_ordered_ops()
        if op.friendly_name not in supported
    ]


def _conversion_findings(model: ModelProto, message: str) -> list[Finding]:
    named: dict[str, str] = {}
    for kind, reason in (
        ("No conversion rule found for operations", "OpenVINO has no conversion for it"),
        ("Conversion is failed for", "OpenVINO could not convert it"),
    ):
        for line in re.findall(rf"{kind}: (.*)", message):
            named |= dict.fromkeys((item.strip() for item in line.split(",")), reason)
    opsets = {o.domain: o.version for o in model.opset_import}
    found = []
    for node in nodes(model.graph):
        full = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        reason = named.get(full, named.get(f"{full}-{opsets.get(node.domain)}", ""))
        if reason:
            found.append(
                Finding("operator", node.name or next(iter(node.output), ""), node.op_type, reason, REMEDY)
            )
    return found or [Finding("operator", "", "", first_reason(RuntimeError(message)), REMEDY)]


BACKEND = OpenVino()
