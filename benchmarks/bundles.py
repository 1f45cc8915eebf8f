"""How fast are bundles exported and verified, and how small are siblings stored?

Export is held against `tar c` of the same folder to the same disk, verification against hashlib's sha256 of
bytes in memory; rounds alternate. A bundle of files of the sizes of small and mid-sized models lies in the
page cache. Then ten siblings of a small transformer, each one ONNX file of which one tensor in twenty is
changed, are built for a server with `sprue build`, frozen into one store, and counted by `du`.

    python benchmarks/bundles.py [--rounds 5] [--mebibytes 1024] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a script: the other benchmarks are found from the checkout's root
    sys.path[0] = str(ROOT)

from benchmarks.random_bundle import MEBI, fill  # noqa: E402
from sprue.bundle.archive import export_bundle  # noqa: E402
from sprue.bundle.check import check_bundle  # noqa: E402
from sprue.machine import cores, fingerprint  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: the temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        bundle = Path(folder, "bundle")
        sizes = fill(bundle, arguments.mebibytes * MEBI)
        total = sum(sizes)
        size = f"{total / MEBI:.0f} MiB in {len(sizes)} files"
        load = os.getloadavg()[0]
        print(f"{fingerprint()}; load {load:.1f}; medians of {arguments.rounds}, {size}")
        exports(bundle, total, arguments.rounds)
        verifications(bundle, total, arguments.rounds)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        siblings(Path(folder))


def exports(bundle: Path, total: int, rounds: int) -> None:
    """To a new file each time, as far as the page cache: neither syncs."""
    out = bundle.with_name("out.tar")

    def ours() -> None:
        with out.open("xb") as sink:
            export_bundle(bundle, sink, 0)

    def tar() -> None:
        subprocess.run(["tar", "cf", out, "-C", bundle.parent, bundle.name], check=True)

    rates = alternate({"tar c": tar, "export": ours}, total, rounds, lambda: out.unlink(missing_ok=True))
    tell(rates, "tar c", {"export": 0.7})


def verifications(bundle: Path, total: int, rounds: int) -> None:
    data = os.urandom(64 * MEBI)

    def raw() -> None:
        for _ in range(total // len(data)):
            hashlib.sha256(data).digest()

    kinds: dict[str, Callable[[], object]] = {"hashlib, one core": raw}
    for n in sorted({1, cores()}):
        kinds[f"verify, {n} threads"] = lambda n=n: check_bundle(bundle, threads=n)  # type: ignore[misc]  # n=n
    rates = alternate(kinds, total, rounds, lambda: None)
    tell(rates, "hashlib, one core", {"verify, 1 threads": 0.8, f"verify, {cores()} threads": 1.0})


def siblings(folder: Path) -> None:
    """Source model and artifact both count, and all else that a bundle holds: data, golden files, ..."""
    (folder / "recipes").mkdir()
    base = transformer()
    sizes = []
    for i in range(10):
        model = folder / "models" / f"m{i}"
        model.mkdir(parents=True)
        onnx.save(fine_tuned(base, i), model / "model.onnx")
        tokens = np.random.default_rng(1).integers(0, WORDS, (32, TOKENS))
        label = np.random.default_rng(2).integers(0, CLASSES, 32)
        np.savez(model / "data.npz", allow_pickle=False, tokens=tokens, label=label)
        (model / "model.toml").write_text('source = "model.onnx"\n[data]\nevaluation = "data.npz"\n')
        (folder / "recipes" / f"m{i}.toml").write_text(f'model = "m{i}"\n[target.server-cpu]\n')
        command = [sys.executable, "-m", "sprue", "build", f"recipes/m{i}.toml", "--store", "store"]
        environment = {**os.environ, "SPRUE_CACHE": str(folder / "cache")}
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        sizes.append(du(folder / "store"))
    one, ten = sizes[0], sizes[-1]
    print(f"  one bundle of a transformer of {base.ByteSize() / MEBI:.1f} MiB takes {one / MEBI:.1f} MiB")
    print(f"  ten siblings with 5 % of tensors changed   {ten / one:.2f} times one  (aim: at most 1.6)")


WIDTH, LAYERS, WORDS, TOKENS, CLASSES = 256, 6, 8000, 32, 20


def transformer() -> onnx.ModelProto:
    """tokens int64 [batch,32] -> logits [batch,20]; an encoder of 6 layers of width 256, at random."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def weight(*shape: int) -> str:
        name = f"w{len(weights)}"
        array = (rng.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32)
        weights.append(numpy_helper.from_array(array, name))
        return name

    def op(kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [name], f"{kind}_{len(nodes)}", **attributes))
        return name

    def linear(x: str, width: int, out: int) -> str:
        return op("Add", op("MatMul", x, weight(width, out)), weight(out))

    def normal(x: str) -> str:
        return op("LayerNormalization", x, weight(WIDTH), weight(WIDTH))

    x = normal(op("Add", op("Gather", weight(WORDS, WIDTH), "tokens"), weight(TOKENS, WIDTH)))
    for _ in range(LAYERS):
        q, k, v = (linear(x, WIDTH, WIDTH) for _ in range(3))
        scores = op("Softmax", op("MatMul", q, op("Transpose", k, perm=[0, 2, 1])), axis=-1)
        x = normal(op("Add", x, linear(op("MatMul", scores, v), WIDTH, WIDTH)))
        x = normal(op("Add", x, linear(op("Relu", linear(x, WIDTH, 4 * WIDTH)), 4 * WIDTH, WIDTH)))
    linear(op("ReduceMax", x, axes=[1], keepdims=0), WIDTH, CLASSES)
    nodes[-1].output[0] = "logits"
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", TOKENS])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(nodes, "transformer", [tokens], [logits], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def fine_tuned(base: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """A copy with one tensor in twenty changed, others for each seed; with seed 0 none."""
    made = onnx.ModelProto()
    made.CopyFrom(base)
    rng = np.random.default_rng(seed)
    count = len(made.graph.initializer)
    for i in rng.choice(count, round(count / 20), replace=False) if seed else []:
        tensor = made.graph.initializer[i]
        changed = numpy_helper.to_array(tensor) * np.float32(1.01)
        tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    return made


def alternate(
    kinds: dict[str, Callable[[], object]], total: int, rounds: int, between: Callable[[], object]
) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, run in kinds.items():
            between()
            began = time.perf_counter()
            run()
            rates[name].append(total / (time.perf_counter() - began))
    between()
    return rates


def tell(rates: dict[str, list[float]], base: str, aims: dict[str, float]) -> None:
    for name, found in rates.items():
        rate, spread = statistics.median(found) / MEBI, f"{min(found) / MEBI:.0f} to {max(found) / MEBI:.0f}"
        ratio = statistics.median(found) / statistics.median(rates[base])
        aim = f"  (aim: {aims[name]:.2f} or more)" if name in aims else ""
        print(f"  {name:18} {rate:6.0f} MiB/s  ({spread})  ratio {ratio:.2f}{aim}")


def du(folder: Path) -> int:
    done = subprocess.run(["du", "-s", "--block-size=1", folder], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


if __name__ == "__main__":
    main()
