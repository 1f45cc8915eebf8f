"""How much faster and smaller is what sprue selects than the default onnxruntime session of the same model?

Five networks of known shapes, with seeded weights, are built for server-cpu from one recipe each; the kept
artifact is loaded by its backend and timed against `onnxruntime.InferenceSession` of the source model with
one thread and all else as it comes. Both run one sample at a time, alternately; medians, and their ratio.

The weights are random, but for the last layer: that is fitted to tell ten classes of noisy samples apart
(`fit`), so that the networks answer as trained ones do, mostly right and mostly by a margin. The argmax of a
wholly random network hangs on the last digits of ten equal logits, and says nothing of an int8 one. `accept`
allows 2 % of accuracy to be lost, on samples that neither the fit nor the calibration has seen.

    python benchmarks/selected.py [--only bert ...] [--rounds 30]

Aims: cnn 1.9, resnet 2.0, bert 1.85, minilm 1.7, bilstm 1.3; and a quarter of the size, where int8 is kept.
Needs the extra `train` (torch writes the networks) and `openvino`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a script: the networks of the chatbots are found from the checkout's root
    sys.path[0] = str(ROOT)

from models.chatbot.networks import BiLstm, Layer, Size  # noqa: E402

SAMPLES, CALIBRATION, FITTED = 150, 32, 200
WORDS, OWN_WORDS, CLASSES, PATTERN = 8000, 40, 10, 8
Array = np.ndarray[Any, Any]
RECIPE = """
model = "{name}"

[accept]
max_drop = 0.02

[target.{target}]
backend   = ["onnxruntime", "openvino"]
precision = "auto"
prefer    = "latency"
"""


class Encoder(nn.Module):  # type: ignore[misc]  # torch is Any
    """BERT's encoder, without its pooler: tokens int64 [batch, length] -> logits float32 [batch, CLASSES]."""

    def __init__(self, width: int, layers: int, length: int, ratio: int = 4, words: int = WORDS) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.layers = nn.ModuleList(_layer(width, ratio) for _ in range(layers))
        self.classifier = nn.Linear(width, CLASSES)
        self.register_buffer("mask", torch.zeros(1, 1, 1, length))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.mask)
        return self.classifier(x[:, 0])


def _layer(width: int, ratio: int) -> Layer:
    made = Layer(width, 0.0)
    made.widen, made.narrow = nn.Linear(width, ratio * width), nn.Linear(ratio * width, width)
    return made


def cnn() -> nn.Module:
    """Images of 64 x 64: four convolutions of 3 x 3."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128), (128, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES))


class Block(nn.Module):  # type: ignore[misc]  # torch is Any
    """ResNet's basic block, normalisation folded away."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.skip(x))


def resnet() -> nn.Module:
    """ResNet-18's shape, for images of 224 x 224."""
    blocks: list[nn.Module] = []
    before = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [Block(before, width, stride), Block(width, width, 1)]
        before = width
    stem = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


@dataclass(frozen=True)
class Case:
    """`shape`: of one sample. Tokens where it has one axis, an image otherwise. `noise`: beside a class's
    pattern of the same size, for images; the share of words that are not the class's own, for tokens.
    """

    aim: float
    shape: tuple[int, ...]
    noise: float
    network: Callable[[], nn.Module]

    def samples(self, count: int, seed: int) -> tuple[Array, Array]:
        """Samples [count, ...] and their classes [count]. A class is a pattern, or a vocabulary."""
        patterns, random = np.random.default_rng(0), np.random.default_rng(seed)
        labels = random.integers(0, CLASSES, count)
        if len(self.shape) == 1:
            own = patterns.integers(2, WORDS, (CLASSES, OWN_WORDS))
            words = own[labels[:, None], random.integers(0, OWN_WORDS, (count, *self.shape))]
            other = random.random(words.shape) < self.noise
            words[other] = random.integers(2, WORDS, int(other.sum()))
            words[:, 0] = 1  # what BERT's answer is read from
            return words, labels
        channels, height, width = self.shape
        coarse = patterns.standard_normal((CLASSES, channels, PATTERN, PATTERN))
        pattern = coarse.repeat(height // PATTERN, axis=2).repeat(width // PATTERN, axis=3)
        noise = random.standard_normal((count, *self.shape)) * self.noise
        return (pattern[labels] + noise).astype(np.float32), labels


CASES = {
    "cnn": Case(1.9, (3, 64, 64), 2.0, cnn),
    "resnet": Case(2.0, (3, 224, 224), 3.0, resnet),
    "bert": Case(1.85, (64,), 0.7, lambda: Encoder(768, 12, 64)),
    "minilm": Case(1.7, (64,), 0.7, lambda: Encoder(384, 6, 64)),
    "bilstm": Case(1.3, (24,), 0.4, lambda: BiLstm(WORDS, CLASSES, 24, Size(128, 2, 0.0))),
}


def fit(net: nn.Module, samples: Array, labels: Array) -> None:
    """Set the last layer, `classifier` or the last of a sequence, by ridge regression on what it reads."""
    head = getattr(net, "classifier", None) or net[-1]
    read: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    with torch.no_grad():
        for part in torch.from_numpy(samples).split(8):
            net(part)
    hook.remove()
    features = torch.cat(read).double()
    scale, mean = features.std(dim=0).mean(), features.mean(dim=0)
    x = (features - mean) / scale
    wanted = 2 * nn.functional.one_hot(torch.from_numpy(labels), CLASSES).double() - 1
    gram = x.T @ x + len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, x.T @ (wanted - wanted.mean(dim=0))).T / scale
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(wanted.mean(dim=0) - weight @ mean)


def write_project(folder: Path, name: str, case: Case, samples: int) -> Path:
    """The model, its data and its recipe; the source's path."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = case.network().eval()
    model = folder / "models" / name
    model.mkdir(parents=True)
    fitted, labels = case.samples(FITTED, 1)
    fit(net, fitted, labels)
    evaluation, label = case.samples(samples, 2)
    onnx.save(exported(net, torch.from_numpy(evaluation[:2])), model / "model.onnx")
    np.savez(model / "calibration.npz", x=case.samples(CALIBRATION, 3)[0])
    np.savez(model / "evaluation.npz", x=evaluation, label=label)
    data = '[data]\ncalibration = "calibration.npz"\nevaluation = "evaluation.npz"\n'
    (model / "model.toml").write_text(f'source = "model.onnx"\n{data}')
    (folder / "recipes").mkdir(exist_ok=True)
    recipe = RECIPE.format(name=name, target=target_here())
    (folder / "recipes" / f"{name}.toml").write_text(recipe)
    return model / "model.onnx"


def target_here() -> str:
    """Of sprue's own targets, the one that describes this machine."""
    from sprue.machine import fingerprint

    return "server-cpu-vnni" if "vnni" in fingerprint() else "server-cpu"


def exported(net: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    data = io.BytesIO()
    axes = {"x": {0: "batch"}, "logits": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter is deprecated, and known to every fusion
        torch.onnx.export(
            net, (example,), data, input_names=["x"], output_names=["logits"],
            dynamic_axes=axes, opset_version=18, dynamo=False,
        )  # fmt: skip
    return onnx.load_model_from_string(data.getvalue())


def build(folder: Path, name: str) -> dict[str, Any]:
    """What `sprue build --json` says of the one target. Exits where nothing was kept."""
    places = ["--cache", str(folder / "cache"), "--store", str(folder / "store")]
    command = [sys.executable, "-m", "sprue", "build", str(folder / "recipes" / f"{name}.toml"), "--json"]
    done = subprocess.run([*command, *places], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=[*CASES], default=[*CASES])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="to evaluate on")
    given = parser.parse_args()
    from sprue.machine import fingerprint

    print(f"{fingerprint()}; load {os.getloadavg()[0]:.1f}; medians of {given.rounds}, one thread")
    for name in given.only:
        with tempfile.TemporaryDirectory(prefix="sprue-selected-") as folder:
            compare(Path(folder), name, CASES[name], given.rounds, given.samples)


def compare(folder: Path, name: str, case: Case, rounds: int, samples: int) -> None:
    source = write_project(folder, name, case, samples)
    said = build(folder, name)
    (target,) = said["targets"]
    kept = next(v for v in target["variants"] if v["variant"] == target["kept"])
    sides = {"default": default_session(source), "selected": selected(said)}
    rows, _ = case.samples(rounds, 4)
    times: dict[str, list[float]] = {side: [] for side in sides}
    for row in (rows[0], *rows):  # the first warms up
        for side, run in sides.items():
            started = time.perf_counter()
            run(row[None])
            times[side].append(time.perf_counter() - started)
    median = {side: statistics.median(taken[1:]) for side, taken in times.items()}
    ratio = median["default"] / median["selected"]
    print(
        f"  {name:7} {median['default'] * 1e3:8.3f} ms -> {median['selected'] * 1e3:8.3f} ms  "
        f"ratio {ratio:5.2f} (aim: {case.aim})  size {kept['size'] / source.stat().st_size:.2f}  "
        f"accuracy {said['reference']['value']:.3f} -> {kept['metric']:.3f}  {target['kept']}",
        flush=True,
    )


def default_session(source: Path) -> Callable[[Array], object]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return lambda row: session.run(None, {"x": row})


def selected(said: dict[str, Any]) -> Callable[[Array], object]:
    """The kept artifact, opened by the loader that its bundle ships."""
    from sprue.load import load

    run = load(Path(said["bundle"]["folder"]) / "targets" / target_here())
    return lambda row: run({"x": row})


if __name__ == "__main__":
    main()
