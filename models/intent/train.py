"""Train the sample text classifier: embedding, bidirectional LSTM, maximum over time, one linear layer.

`python models/intent/train.py` trains on the generated texts of `dataset.py` and writes the model, its data,
`vocabulary.txt` and `labels.txt` beside itself, or into `--out`; `export()` trains and returns the model.
The same version of torch gives the same files. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

if TYPE_CHECKING:  # the same module by the two names it has: for a type checker, and for this script
    from models.intent import dataset
else:
    import dataset

FOLDER = Path(__file__).resolve().parent
SEED = 20261123
EMBEDDING, HIDDEN = 32, 32
CALIBRATION = 128
EPOCHS = 40
BATCH = 64
FORGOTTEN = 0.25
"""Share of the words that training replaces by `<unknown>`: the network learns not to lean on any of them."""
HIDE = -2.0
"""Added to the LSTM's outputs, which lie in (-1, 1), where there is only padding: it is never the maximum."""


@dataclass(frozen=True)
class Data:
    """A corpus as the model sees it: tokens [n, 16] and classes [n]."""

    vocabulary: tuple[str, ...]
    labels: tuple[str, ...]
    training: tuple[NDArray[np.int64], NDArray[np.int64]]
    evaluation: tuple[NDArray[np.int64], NDArray[np.int64]]


def prepare(corpus: dataset.Corpus) -> Data:
    vocabulary = dataset.vocabulary(e.text for e in corpus.training)

    def arrays(examples: tuple[dataset.Example, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        label = np.array([corpus.labels.index(e.intent) for e in examples], dtype=np.int64)
        return dataset.encode((e.text for e in examples), vocabulary), label

    return Data(vocabulary, corpus.labels, arrays(corpus.training), arrays(corpus.evaluation))


def network(words: int, classes: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "embedding": nn.Embedding(words, EMBEDDING, padding_idx=dataset.PADDING),
            "lstm": nn.LSTM(EMBEDDING, HIDDEN, batch_first=True, bidirectional=True),
            "classifier": nn.Linear(2 * HIDDEN, classes),
            "dropout": nn.Dropout(0.3),
        }
    )


def forward(net: nn.ModuleDict, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [batch, classes] of tokens [batch, 16]; `onnx_model` writes the same network as a graph."""
    embedded = net["dropout"](net["embedding"](tokens))
    states, _ = net["lstm"](embedded)  # reads the padding too, at the end: its length is fixed on a device
    visible = states + HIDE * (tokens == dataset.PADDING)[..., None]
    return net["classifier"](net["dropout"](visible.amax(dim=1)))


def train(data: Data) -> nn.ModuleDict:
    """The trained network, in evaluation mode."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # the order of summation, hence the weights, depends on the number of threads
    net = network(len(data.vocabulary), len(data.labels))
    tokens, label = (torch.from_numpy(a) for a in data.training)
    steps = EPOCHS * -(-len(label) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(label)).split(BATCH):
            optimizer.zero_grad()
            logits = forward(net, _forgetful(tokens[batch]))
            nn.functional.cross_entropy(logits, label[batch], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def _forgetful(tokens: torch.Tensor) -> torch.Tensor:
    forgotten = (torch.rand(tokens.shape) < FORGOTTEN) & (tokens != dataset.PADDING)
    return tokens.masked_fill(forgotten, dataset.UNKNOWN)


def accuracy(net: nn.ModuleDict, tokens: NDArray[np.int64], label: NDArray[np.int64]) -> float:
    with torch.no_grad():
        found = forward(net, torch.from_numpy(tokens)).argmax(dim=1).numpy()
    return float((found == label).mean())


def onnx_model(net: nn.ModuleDict) -> onnx.ModelProto:
    """The network as ONNX: input `tokens` int64 [batch, 16], output `logits` float32 [batch, classes].

    Written node by node: an exporter surrounds an LSTM with a dozen nodes that compute its initial states.
    """
    weights = {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}
    words, classes = len(weights["embedding.weight"]), len(weights["classifier.bias"])
    hide = np.zeros((words, 1), np.float32)
    hide[dataset.PADDING] = HIDE
    constants = {
        "embedding.weight": weights["embedding.weight"],
        "lstm.input_weights": _both_ways(weights, "weight_ih"),
        "lstm.recurrent_weights": _both_ways(weights, "weight_hh"),
        "lstm.bias": np.concatenate([_both_ways(weights, "bias_ih"), _both_ways(weights, "bias_hh")], axis=1),
        "states.shape": np.array([0, dataset.LENGTH, 2 * HIDDEN], np.int64),
        "padding.weight": hide,
        "time": np.array([1], np.int64),
        "classifier.weight": weights["classifier.weight"],
        "classifier.bias": weights["classifier.bias"],
    }
    lstm = ["by_time", "lstm.input_weights", "lstm.recurrent_weights", "lstm.bias"]
    nodes = [
        _node("embedding", "Gather", ["embedding.weight", "tokens"], "embedded"),
        _node("time_first", "Transpose", ["embedded"], "by_time", perm=[1, 0, 2]),
        _node("lstm", "LSTM", lstm, "lstm_states", hidden_size=HIDDEN, direction="bidirectional"),
        _node("batch_first", "Transpose", ["lstm_states"], "by_sample", perm=[2, 0, 1, 3]),
        _node("both_ways", "Reshape", ["by_sample", "states.shape"], "states"),
        _node("padding", "Gather", ["padding.weight", "tokens"], "hidden"),
        _node("hide_padding", "Add", ["states", "hidden"], "visible"),
        _node("pool", "ReduceMax", ["visible", "time"], "pooled", keepdims=0),
        _node("classifier", "Gemm", ["pooled", "classifier.weight", "classifier.bias"], "logits", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "intent",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", dataset.LENGTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _node(name: str, op: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    node = helper.make_node(op, inputs, [output], name)
    node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
    return node


def _both_ways(weights: dict[str, NDArray[np.float32]], part: str) -> NDArray[np.float32]:
    """[2, 4 * hidden, ...], forward and backward, gates in ONNX's order: input, output, forget, cell."""
    directions = []
    for suffix in ("", "_reverse"):
        enter, forget, cell, leave = np.split(weights[f"lstm.{part}_l0{suffix}"], 4)  # torch's order
        directions.append(np.concatenate([enter, leave, forget, cell]))
    return np.stack(directions)


def export() -> onnx.ModelProto:
    """Train on the generated texts and export."""
    return onnx_model(train(prepare(dataset.generate())))


def write(data: Data, model: onnx.ModelProto, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "intent.onnx")
    np.savez_compressed(folder / "calibration.npz", tokens=data.training[0][:CALIBRATION])
    np.savez_compressed(folder / "evaluation.npz", tokens=data.evaluation[0], label=data.evaluation[1])
    (folder / "vocabulary.txt").write_text("\n".join(data.vocabulary) + "\n", "utf-8")
    (folder / "labels.txt").write_text("\n".join(data.labels) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where to write; default: here")
    options = parser.parse_args()
    data = prepare(dataset.generate())
    net = train(data)
    write(data, onnx_model(net), options.out)
    print(f"accuracy {accuracy(net, *data.evaluation):.4f} on {len(data.evaluation[1])} texts")


if __name__ == "__main__":
    main()
