"""Train the sample image classifier: scikit-learn's 8 x 8 digits, a small depthwise-separable network.

`python models/digits/train.py` writes `digits.onnx`, `calibration.npz` and `evaluation.npz` beside itself;
`export()` trains and returns the ONNX model. The same versions of torch and scikit-learn give the same files.
Needs the extra `train`.
"""

from __future__ import annotations

import io
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

FOLDER = Path(__file__).resolve().parent
SEED = 20261123
EVALUATION = 360
CALIBRATION = 128
EPOCHS = 60
BATCH = 64


class Samples(NamedTuple):
    image: NDArray[np.float32]
    """[n, 1, 8, 8], in [0, 1]."""
    label: NDArray[np.int64]
    """[n], the digit."""


def load() -> tuple[Samples, Samples]:
    """Training and evaluation samples: a stratified split, the same on every machine."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    parts = train_test_split(
        images,
        digits.target.astype(np.int64),
        test_size=EVALUATION,
        random_state=SEED,
        stratify=digits.target,
    )
    return Samples(parts[0], parts[2]), Samples(parts[1], parts[3])


def network() -> nn.Sequential:
    """About 12,000 weights: a 3 x 3 convolution, two depthwise-separable blocks, a 3 x 3 convolution."""
    layers: list[tuple[str, nn.Module]] = [
        *_convolution("stem", 1, 16, 3),
        *_convolution("depthwise1", 16, 16, 3, groups=16),
        *_convolution("pointwise1", 16, 32, 1),
        ("pool1", nn.MaxPool2d(2)),
        *_convolution("depthwise2", 32, 32, 3, groups=32),
        *_convolution("pointwise2", 32, 32, 1),
        *_convolution("body", 32, 32, 3),
        ("pool2", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("dropout", nn.Dropout(0.1)),
        ("classifier", nn.Linear(32, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


def _convolution(
    name: str, inputs: int, outputs: int, size: int, groups: int = 1
) -> list[tuple[str, nn.Module]]:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    return [(name, convolution), (f"{name}_norm", nn.BatchNorm2d(outputs)), (f"{name}_relu", nn.ReLU())]


def train(samples: Samples) -> nn.Sequential:
    """The trained network, in evaluation mode."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # the order of summation, hence the weights, depends on the number of threads
    net = network()
    image, label = torch.from_numpy(samples.image), torch.from_numpy(samples.label)
    steps = EPOCHS * (len(label) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(label))
        for batch in order[: len(label) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            logits = net(_shifted(image[batch]))
            nn.functional.cross_entropy(logits, label[batch], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def _shifted(image: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to one pixel: 1,437 images alone are learnt by heart."""
    rows, columns = torch.randint(-1, 2, (2, len(image)))
    moved = [torch.roll(i, (int(r), int(c)), (1, 2)) for i, r, c in zip(image, rows, columns, strict=True)]
    return torch.stack(moved)


def export() -> onnx.ModelProto:
    """Train and export: input `image` float32 [batch, 1, 8, 8], output `logits` float32 [batch, 10]."""
    training, _ = load()
    net = train(training)
    data = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter needs nothing beside torch, and its graph of such a network is clean.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _folded(net),
            (torch.zeros(1, 1, 8, 8),),
            data,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=18,
            dynamo=False,
        )
    return onnx.load_model_from_string(data.getvalue())


def _folded(net: nn.Sequential) -> nn.Sequential:
    """Batch norms folded into the convolutions before them, so that the exporter keeps the layers' names."""
    layers = OrderedDict(net.named_children())
    for name in [n for n in layers if n.endswith("_norm")]:
        before = name.removesuffix("_norm")
        layers[before] = nn.utils.fuse_conv_bn_eval(layers[before], layers.pop(name))
    return nn.Sequential(layers).eval()


def main() -> None:
    training, evaluation = load()
    onnx.save(export(), FOLDER / "digits.onnx")
    calibration = training.image[:CALIBRATION]  # train_test_split has shuffled them
    np.savez_compressed(FOLDER / "calibration.npz", image=calibration)
    np.savez_compressed(FOLDER / "evaluation.npz", image=evaluation.image, label=evaluation.label)


if __name__ == "__main__":
    main()
