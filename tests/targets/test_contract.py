"""What every backend in `targets/` promises, asked of each of them alike.

A backend that is not installed here is skipped; one that cannot execute here is only compiled. Nothing in
this file knows a backend by name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from sprue.backend import Backend, Runner, Variant, find, names
from sprue.facts import Facts
from sprue.graph import inputs, outputs, serialise
from sprue.target import PRECISIONS, Precision, Target, load_target, target_files
from sprue.variant import SETTINGS

Samples = dict[str, NDArray[Any]]
Case = tuple[ModelProto, Samples]
Build = Callable[[str, Precision, str], Path]

HERE = Path(__file__).parent
HEAVY = [
    *("onnxruntime", "openvino", "nncf", "torch", "tensorrt", "tensorrt_rtx", "ai_edge_litert"),
    *("ai_edge_quantizer", "tflite_runtime", "tensorflow", "unicorn", "ziglang", "sklearn"),
]

TOLERANCE: dict[Precision, float] = {
    "float32": 1e-5,  # another order of summation, other exp and tanh
    "float16": 5e-3,  # 11 bits of mantissa, a handful of layers
    "int8-dynamic": 0.05,  # 7 or 8 bits for weights and activations, a handful of layers
    "int8-static": 0.05,
    "int8-weights": 0.01,
}
"""The largest absolute difference from float32 in onnxruntime, as a part of the largest absolute output."""

OFFERED = [(n, p) for n in names() for p in find(n).precisions]
each_backend = pytest.mark.parametrize("name", names())
each_variant = pytest.mark.parametrize(("name", "precision"), OFFERED, ids=[f"{n}-{p}" for n, p in OFFERED])
each_model = pytest.mark.parametrize("network", ["tiny_cnn", "tiny_bilstm"])


def target_of(name: str) -> Target:
    """A target whose default the backend is, or that names it; the server's first, as that runs here."""
    targets = [load_target("server-cpu"), *(load_target(t) for t in target_files())]
    return min(targets, key=lambda t: (*t.backends, name).index(name))


def variant_of(name: str, precision: Precision) -> Variant:
    return Variant(target_of(name), name, precision)


def available(name: str) -> Backend:
    backend = find(name)
    state = backend.available()
    if not state.compiles:
        pytest.skip(f"{name} lacks: {state.missing}; {state.install}")
    return backend


def transformed(backend: Backend, variant: Variant, case: Case) -> ModelProto:
    model, samples = case
    for change in backend.passes(variant):
        model = change.apply(model, samples)
    return model


@pytest.fixture(scope="module")
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compiles each variant of each network once, skipping what `check` says cannot work."""
    built: dict[tuple[str, Precision, str], Path] = {}

    def make(name: str, precision: Precision, network: str) -> Path:
        backend, variant = available(name), variant_of(name, precision)
        case: Case = request.getfixturevalue(network)
        findings = backend.check(case[0], variant)
        if findings:
            pytest.skip(f"{variant.id} refuses {network}: {findings[0].reason}")
        key = (name, precision, network)
        if key not in built:
            out = tmp_path_factory.mktemp(variant.id)
            backend.compile(transformed(backend, variant, case), variant, case[1], out)
            built[key] = out
        return built[key]

    return make


@cache
def loaded(name: str, precision: Precision, artifact: Path) -> Runner:
    """Once for all that is asked of it."""
    if not find(name).available().executes:
        pytest.skip(f"{name} cannot execute here: {find(name).available().missing}")
    return find(name).load(artifact, variant_of(name, precision))


def reference(case: Case) -> Samples:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(serialise(case[0]), options, providers=["CPUExecutionProvider"])
    wanted = [o.name for o in outputs(case[0])]
    return dict(zip(wanted, session.run(wanted, case[1]), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, p in OFFERED if p == "int8-static"])
def test_layers_that_are_to_stay_in_float_do(name: str, tiny_cnn: Case, build: Build, tmp_path: Path) -> None:
    """With all layers in float next to nothing is left of int8's error."""
    whole = loaded(name, "int8-static", build(name, "int8-static", "tiny_cnn"))
    backend, int8 = find(name), variant_of(name, "int8-static")
    mixed = replace(int8, float_layers=("conv", "gemm"))
    backend.compile(transformed(backend, mixed, tiny_cnn), mixed, tiny_cnn[1], tmp_path)
    expected = reference(tiny_cnn)["logits"]
    samples = {n: a[:20] for n, a in tiny_cnn[1].items()}
    errors = [
        float(np.abs(runner.run(samples)["logits"] - expected[:20]).max())
        for runner in (whole, backend.load(tmp_path, mixed))
    ]
    assert errors[1] < 0.1 * errors[0] or max(errors) < 1e-6, "the null backend's int8 is float32"


@each_backend
def test_offers_are_precisions_and_settings_that_the_backend_has(name: str) -> None:
    backend = find(name)
    for kind in ("Conv", "LSTM", "MatMul", "Gemm"):
        operators = {kind: 9, "Softmax": 1, "LayerNormalization": 1} if kind == "MatMul" else {kind: 9}
        for features in ((), ("avx2",), ("avx512-vnni",)):
            target = replace(target_of(name), features=features)
            offers = backend.offers(Facts(operators, {kind: 9}, {kind: 9}), target)
            assert "float32" in {o.precision for o in offers}
            assert {o.precision for o in offers} <= set(backend.precisions)
            assert all(set(o.settings) <= set(backend.settings) and o.why for o in offers)
            assert {o.precision for o in offers if o.mixed} <= {"int8-static", "int8-weights"}
    assert set(backend.settings_in_artifact) <= set(backend.settings) <= set(SETTINGS)


@each_backend
def test_importing_a_backend_imports_no_runtime(name: str) -> None:
    script = (
        f"import json, sys; from sprue.backend import find; b = find({name!r}); b.tools(); "
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == []


def test_what_every_worker_imports_reads_no_file_of_a_person() -> None:
    """pydantic would be a third of it."""
    script = (
        "import sys, sprue.steps; from sprue.backend import find, names; [find(n) for n in names()]; "
        "sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


@each_backend
def test_a_backend_says_its_name_its_tools_and_what_is_missing(name: str) -> None:
    backend = find(name)
    tools = backend.tools() if backend.available().compiles else {}
    assert backend.name == name
    assert set(backend.precisions) <= set(PRECISIONS)
    assert all(isinstance(v, str) and v for v in tools.values())
    state = backend.available()
    assert bool(state.missing) == (not (state.compiles and state.executes))
    assert not state.missing or state.install


@pytest.mark.slow
@each_variant
@each_model
def test_compiling_twice_gives_the_same_bytes(
    name: str,
    precision: Precision,
    network: str,
    build: Build,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    first = build(name, precision, network)
    backend, variant = find(name), variant_of(name, precision)
    case: Case = request.getfixturevalue(network)
    backend.compile(transformed(backend, variant, case), variant, case[1], tmp_path)
    assert contents(tmp_path) == contents(first)
    assert backend.entry(variant) in contents(first)


@pytest.mark.slow
@each_backend
@each_model
def test_two_processes_in_two_folders_compile_the_same_bytes_and_leave_nothing_else(
    name: str, network: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    backend = available(name)
    model, samples = request.getfixturevalue(network)
    possible = [p for p in backend.precisions if not backend.check(model, variant_of(name, p))]
    if not possible:
        pytest.skip(f"{name} refuses {network}")
    (tmp_path / "model.onnx").write_bytes(serialise(model))
    np.savez(tmp_path / "samples.npz", allow_pickle=False, **samples)
    made = []
    for seed, order in (("1", possible), ("2", possible[::-1])):
        folder = tmp_path / f"run{seed}"
        places = {key: folder / key for key in ("HOME", "TMPDIR", "cwd")}
        for place in places.values():
            place.mkdir(parents=True)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "HOME": str(places["HOME"])}
        environment["TMPDIR"] = str(places["TMPDIR"])
        environment["XDG_CACHE_HOME"] = str(folder / "cache")  # a compiler's cache may stay
        files = [str(tmp_path / "model.onnx"), str(tmp_path / "samples.npz")]
        command = [sys.executable, str(HERE / "compile_once.py"), name, target_of(name).id, *files]
        command += [str(folder / "out"), *order]
        subprocess.run(command, cwd=places["cwd"], env=environment, check=True, timeout=240)
        made.append(contents(folder / "out"))
        for key, place in places.items():
            assert contents(place) == {}, f"compile left files in {key}"
    assert made[0] == made[1]


@each_variant
@each_model
def test_a_loaded_artifact_agrees_with_the_float_reference(
    name: str, precision: Precision, network: str, build: Build, request: pytest.FixtureRequest
) -> None:
    runner = loaded(name, precision, build(name, precision, network))
    model, samples = request.getfixturevalue(network)
    some = {n: a[:20] for n, a in samples.items()}
    expected: Samples = reference((model, some))
    actual: Samples = runner.run(some)
    assert list(actual) == list(expected)
    for key, wanted in expected.items():
        assert actual[key].shape == wanted.shape
        assert actual[key].dtype == wanted.dtype
        limit = TOLERANCE[precision] * float(np.abs(wanted).max())
        assert float(np.abs(actual[key] - wanted).max()) <= limit


@each_variant
@each_model
def test_a_sample_alone_gives_what_it_gives_among_others(
    name: str, precision: Precision, network: str, build: Build, request: pytest.FixtureRequest
) -> None:
    runner = loaded(name, precision, build(name, precision, network))
    _, samples = request.getfixturevalue(network)
    together: Samples = runner.run({k: v[:5] for k, v in samples.items()})
    for index in range(5):
        alone: Samples = runner.run({k: v[index : index + 1] for k, v in samples.items()})
        for key, wanted in together.items():
            limit = 1e-6 + 1e-5 * float(np.abs(wanted).max())
            assert float(np.abs(alone[key] - wanted[index : index + 1]).max()) <= limit


@each_variant
def test_a_profile_counts_bytes(name: str, precision: Precision, build: Build) -> None:
    profile = loaded(name, precision, build(name, precision, "tiny_cnn")).profile()
    for number in (profile.flash, profile.ram, profile.instructions):
        assert number is None or number > 0


@each_backend
def test_an_unsupported_operator_is_named_with_its_node_and_a_remedy(name: str, tiny_cnn: Case) -> None:
    backend = available(name)
    model = ModelProto()
    model.CopyFrom(tiny_cnn[0])
    model.graph.node[2].op_type, model.graph.node[2].domain = "Frobnicate", "com.acme"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    for precision in backend.precisions:
        findings = backend.check(model, variant_of(name, precision))
        named = {(f.kind, f.node, f.op) for f in findings}
        assert ("operator", "relu", "Frobnicate") in named
        assert all(f.reason and f.remedy for f in findings)


@each_backend
def test_a_model_that_works_has_no_findings_in_some_precision(name: str, tiny_cnn: Case) -> None:
    backend = available(name)
    assert any(not backend.check(tiny_cnn[0], variant_of(name, p)) for p in backend.precisions)


@each_backend
def test_a_precision_that_is_not_offered_is_a_finding(name: str, tiny_cnn: Case) -> None:
    backend = available(name)
    for precision in set(PRECISIONS) - set(backend.precisions):
        findings = backend.check(tiny_cnn[0], variant_of(name, precision))
        assert [f.kind for f in findings if f.remedy] == ["precision"]


@each_backend
def test_checking_does_not_change_the_model(name: str, tiny_cnn: Case) -> None:
    backend, before = available(name), serialise(tiny_cnn[0])
    for precision in backend.precisions:
        backend.check(tiny_cnn[0], variant_of(name, precision))
    assert serialise(tiny_cnn[0]) == before


@pytest.mark.slow
@each_variant
def test_a_damaged_artifact_is_refused_without_a_crash_or_a_hang(
    name: str, precision: Precision, build: Build, tiny_cnn: Case, tmp_path: Path
) -> None:
    artifact = build(name, precision, "tiny_cnn")
    loaded(name, precision, artifact)
    np.savez(tmp_path / "samples.npz", allow_pickle=False, **tiny_cnn[1])
    variant = variant_of(name, precision)
    arguments = [name, variant.target.id, precision, *map(str, (artifact, tmp_path))]
    done = subprocess.run(
        [sys.executable, HERE / "load_damaged.py", *arguments, tmp_path / "samples.npz"],
        capture_output=True,
        check=False,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"crashed at: {done.stdout.splitlines()[-1:]} {done.stderr[-2000:]}"
    outcomes = [line.rsplit(" ", 2) for line in done.stdout.splitlines()]
    assert len(outcomes) == 3 * len(contents(artifact))
    assert [o for o in outcomes if o[2] not in ("refused", "ran")] == []
    entry = find(name).entry(variant)
    assert [o for o in outcomes if o[0] == entry and o[1] != "flipped" and o[2] != "refused"] == []


TELLING = ("c", "onnxruntime", "openvino", "tflite")
"""Backends whose runtimes can be asked what each operator takes; a backend need not have one."""


@pytest.mark.slow
@each_variant
@each_model
def test_operators_are_named_and_costed_where_the_artifact_itself_runs(
    name: str, precision: Precision, network: str, build: Build, request: pytest.FixtureRequest
) -> None:
    case: Case = request.getfixturevalue(network)
    runner = loaded(name, precision, build(name, precision, network))
    sample = {n: a[:1] for n, a in case[1].items()}
    before = runner.run(sample)
    found = runner.operators(sample)
    if runner.execution == "stand-in":
        assert found == (), "a stand-in says nothing of the artifact"
        return
    if not found:
        assert name not in TELLING, "its runtime says what each operator takes"
        return
    kinds = {(o.seconds is None, o.instructions is None) for o in found}
    assert kinds in ({(False, True)}, {(True, False)}), "either seconds or instructions"
    assert all(o.name and o.op for o in found)
    assert all((o.seconds or o.instructions or 0) >= 0 for o in found)
    assert sum(o.seconds or o.instructions or 0 for o in found) > 0
    heavy = {"tiny_cnn": "conv", "tiny_bilstm": "lstm"}[network]
    assert any(heavy in o.op.lower() for o in found), [o.op for o in found]
    after = runner.run(sample)
    assert all((before[n] == after[n]).all() for n in before), "profiling must not change the artifact"


@each_variant
def test_an_artifact_folder_without_its_files_is_refused(
    name: str, precision: Precision, tmp_path: Path
) -> None:
    from sprue.errors import SprueError

    available(name)
    with pytest.raises(SprueError):
        find(name).load(tmp_path, variant_of(name, precision))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_tiny_networks_are_valid_onnx(tiny_cnn: Case, tiny_bilstm: Case) -> None:
    for model, samples in (tiny_cnn, tiny_bilstm):
        onnx.checker.check_model(model, full_check=True)
        assert {s.name for s in inputs(model)} == set(samples)
        assert inputs(model)[0].dtype in (np.dtype(np.float32), np.dtype(np.int64))
        assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
