"""What tests share: tiny networks with weights from a fixed seed, and a tiny project around one of them."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from . import servers
from .warm import AT_START, Warm

Samples = dict[str, NDArray[np.generic]]
Done = subprocess.CompletedProcess[str]

BACKENDS = Path(__file__).with_name("backends")


MEMORY = Path("/dev/shm")
"""A file system in memory, on Linux."""


def pytest_configure(config: pytest.Config) -> None:
    """Let the tests' folders lie in memory where there is room: half of the waiting is for fsync on a disk.

    `--basetemp` and PYTEST_DEBUG_TEMPROOT still decide.
    """
    with contextlib.suppress(OSError):
        room = os.statvfs(MEMORY)
        if room.f_bavail * room.f_frsize > 8 << 30 and not room.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_finish() -> None:
    """What is imported is there for good: collections of garbage need not go through it again and again."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def signals_reach_children() -> Iterator[None]:
    """Ctrl-C and SIGHUP end what tests start, though who started us ignores them: `nohup`, `&` in a script.

    What is ignored is so in all processes below. What is handled, even by doing nothing, is not.
    """
    ignored = [s for s in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(s) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def _weight(rng: np.random.Generator, name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array((rng.standard_normal(shape) * 0.3).astype(np.float32), name)


@pytest.fixture(scope="session")
def tiny_cnn() -> tuple[ModelProto, Samples]:
    """image float32 [batch,1,8,8] -> logits float32 [batch,10]; Conv, BatchNorm, Relu, MaxPool, Gemm."""
    rng = np.random.default_rng(7)
    variance = numpy_helper.from_array(rng.uniform(0.5, 1.5, 8).astype(np.float32), "variance")
    weights = [_weight(rng, "kernel", 8, 1, 3, 3), _weight(rng, "bias", 8), variance]
    weights += [_weight(rng, name, 8) for name in ("scale", "shift", "mean")]
    weights += [_weight(rng, "matrix", 10, 8), _weight(rng, "offset", 10)]
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["conv"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["conv", "scale", "shift", "mean", "variance"], ["norm"], "norm"
        ),
        helper.make_node("Relu", ["norm"], ["relu"], "relu"),
        helper.make_node("MaxPool", ["relu"], ["pool"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["pool"], ["mean_of_all"], "average"),
        helper.make_node("Flatten", ["mean_of_all"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "matrix", "offset"], ["logits"], "gemm", transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    samples: Samples = {"image": rng.standard_normal((70, 1, 8, 8)).astype(np.float32)}
    return _model("cnn", nodes, image, logits, weights), samples


@pytest.fixture(scope="session")
def tiny_bilstm() -> tuple[ModelProto, Samples]:
    """tokens int64 [batch,16] -> logits float32 [batch,5]; Gather, bidirectional LSTM, ReduceMax, Gemm."""
    rng = np.random.default_rng(11)
    words, embedding, hidden = 20, 6, 8
    weights = [
        _weight(rng, "embedding", words, embedding),
        _weight(rng, "W", 2, 4 * hidden, embedding),
        _weight(rng, "R", 2, 4 * hidden, hidden),
        _weight(rng, "B", 2, 8 * hidden),
        _weight(rng, "matrix", 2 * hidden, 5),
        _weight(rng, "offset", 5),
        numpy_helper.from_array(np.array([0, 0, 2 * hidden]), "joined"),
    ]
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["embedded"], "embed"),
        helper.make_node("Transpose", ["embedded"], ["by_time"], "to_time", perm=[1, 0, 2]),
        helper.make_node(
            "LSTM", ["by_time", "W", "R", "B"], ["states"], "lstm", hidden_size=8, direction="bidirectional"
        ),
        helper.make_node("Transpose", ["states"], ["by_batch"], "to_batch", perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["by_batch", "joined"], ["sequence"], "join"),
        helper.make_node("ReduceMax", ["sequence"], ["pooled"], "pool", axes=[1], keepdims=0),
        helper.make_node("Gemm", ["pooled", "matrix", "offset"], ["logits"], "gemm"),
    ]
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", 16])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])
    samples: Samples = {"tokens": rng.integers(0, words, (70, 16))}
    return _model("bilstm", nodes, tokens, logits, weights), samples


@pytest.fixture(scope="session")
def tiny_mlp() -> tuple[ModelProto, Samples]:
    """x float32 [batch,4] -> y float32 [batch,3]; Gemm, Relu, Gemm."""
    rng = np.random.default_rng(3)
    weights = [_weight(rng, "first", 4, 8), _weight(rng, "second", 8, 3)]
    nodes = [
        helper.make_node("Gemm", ["x", "first"], ["hidden"], "into"),
        helper.make_node("Relu", ["hidden"], ["active"], "relu"),
        helper.make_node("Gemm", ["active", "second"], ["y"], "out"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    samples: Samples = {"x": rng.standard_normal((20, 4)).astype(np.float32)}
    return _model("mlp", nodes, x, y, weights), samples


@pytest.fixture(scope="session")
def outlier() -> tuple[ModelProto, Samples]:
    """x float32 [batch,16] -> y float32 [batch,16]; MatMul, Tanh, MatMul, Tanh, MatMul.

    A weight of the node `ruined`, 200 times as large as its neighbours, ruins their scale in int8, though it
    multiplies nothing but 0.
    """
    rng = np.random.default_rng(2)
    weights = {n: rng.standard_normal((16, 16)).astype(np.float32) for n in ("a", "b", "c")}
    weights["b"][3] *= 200
    weights["a"][:, 3] = 0
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["ya"], "first"),
        helper.make_node("Tanh", ["ya"], ["ta"], "tanh"),
        helper.make_node("MatMul", ["ta", "b"], ["yb"], "ruined"),
        helper.make_node("Tanh", ["yb"], ["tb"], "tanh2"),
        helper.make_node("MatMul", ["tb", "c"], ["y"], "last"),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 16]) for n in "xy")
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    samples: Samples = {"x": rng.standard_normal((200, 16)).astype(np.float32)}
    return _model("outlier", nodes, x, y, held), samples


@pytest.fixture(scope="session")
def template(tiny_mlp: tuple[ModelProto, Samples], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the model `tiny`, which is always right, and the recipe `tiny` for the target `null`."""
    model, samples = tiny_mlp
    folder = tmp_path_factory.mktemp("template")
    tiny = folder / "models" / "tiny"
    tiny.mkdir(parents=True)
    (folder / "recipes").mkdir()
    (tiny / "tiny.onnx").write_bytes(model.SerializeToString(deterministic=True))
    first, second = (numpy_helper.to_array(t) for t in model.graph.initializer)
    label = (np.maximum(samples["x"] @ first, 0) @ second).argmax(axis=1)
    np.savez(tiny / "evaluation.npz", allow_pickle=False, x=samples["x"], label=label)
    np.savez(tiny / "calibration.npz", allow_pickle=False, x=samples["x"])
    (tiny / "model.toml").write_text(
        'source = "tiny.onnx"\n\n[data]\nevaluation = "evaluation.npz"\ncalibration = "calibration.npz"\n'
    )
    (folder / "recipes" / "tiny.toml").write_text('model = "tiny"\nversion = "1.2.3"\n\n[target.null]\n')
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A copy of `template` to spoil."""
    return shutil.copytree(template, tmp_path / "project")


@pytest.fixture(scope="session")
def sprue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Done]]:
    """`sprue(folder, *arguments, **environment)`: the command line in a process, with the test backends.

    The cache is the session's, apart from the user's own; bundles go to `bundles/` in `folder`.
    """
    home = tmp_path_factory.mktemp("home")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPRUE_", "SOURCE_DATE", "XDG_"))}
    base = {**kept, "HOME": str(home), "SPRUE_CACHE": str(home / "cache"), "SPRUE_TARGETS": str(BACKENDS)}
    warm = Warm(base, home)

    def run(folder: Path, *arguments: str | Path, **environment: str) -> Done:
        asked = [*map(str, arguments)]
        if not any(name.startswith(AT_START) for name in environment):
            return warm.run(folder, asked, 120, **environment)
        return subprocess.run(
            [sys.executable, "-m", "sprue", *asked],
            cwd=folder,
            env={**base, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    yield run
    warm.close()


@pytest.fixture
def sprue_here(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """`sprue_here(*arguments, **environment)`: the command line in this process and in `project`, without the
    test backends.

    For many short questions: starting a process costs more than answering them.
    """
    from sprue.cli import main

    def run(*arguments: str, **environment: str) -> Done:
        monkeypatch.chdir(project)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["sprue", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return Done(arguments, int(left.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A bucket of moto's server."""
    boto3 = pytest.importorskip("boto3", reason="sprue[s3] is not installed")
    with servers.s3() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in {**servers.AWS, "AWS_ENDPOINT_URL": endpoint}.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "s3://bucket"


@pytest.fixture(scope="session")
def oci_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry, and a login for it."""
    pytest.importorskip("httpx", reason="sprue[oci] is not installed")
    folder = tmp_path_factory.mktemp("docker-registry")
    with servers.docker_registry(folder) as host, pytest.MonkeyPatch.context() as patch:
        login = json.dumps({"auths": {host: {"auth": servers.LOGIN}}})
        (folder / "config.json").write_text(login)
        patch.setenv("DOCKER_CONFIG", str(folder))
        patch.delenv("REGISTRY_AUTH_FILE", raising=False)
        yield f"oci://{host}"


@pytest.fixture(scope="session")
def other_oci_url(oci_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another docker-registry, with the same login."""
    config = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    with servers.docker_registry(tmp_path_factory.mktemp("other")) as host:
        logins = json.loads(config.read_bytes())["auths"]
        config.write_text(json.dumps({"auths": {**logins, host: {"auth": servers.LOGIN}}}))
        yield f"oci://{host}"


@pytest.fixture(scope="session")
def http_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """nginx with WebDAV, and a login for it."""
    pytest.importorskip("httpx", reason="sprue[oci] is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    with servers.nginx(folder) as host, pytest.MonkeyPatch.context() as patch:
        (folder / "netrc").write_text(f"machine 127.0.0.1 login {servers.USER} password {servers.SECRET}\n")
        (folder / "netrc").chmod(0o600)
        patch.setenv("NETRC", str(folder / "netrc"))
        yield f"http://{host}"


def _model(
    name: str,
    nodes: list[NodeProto],
    source: ValueInfoProto,
    result: ValueInfoProto,
    weights: list[TensorProto],
) -> ModelProto:
    graph = helper.make_graph(nodes, name, [source], [result], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
