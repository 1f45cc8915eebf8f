"""From a trained network to the files that sprue reads: model folder and recipe.

A model folder holds `model.onnx`, calibration and evaluation data, `labels.txt`, `vocabulary.txt`, the
tokenizer with golden examples, `report.json` and `model.toml`. Nothing of CLINC150 but what these say.
"""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from models.chatbot import tokenizer as tokenizer_module
from models.chatbot.corpus import Corpus
from models.chatbot.encoding import encode
from models.chatbot.tokenizer import Tokenizer

CALIBRATION, GOLDEN = 256, 20
OPSET = 18
TEMPLATES = Path(__file__).with_name("templates")


def onnx_model(net: nn.Module, length: int) -> onnx.ModelProto:
    """Input `tokens` int64 [batch, length], output `logits` float32 [batch, intents].

    The TorchScript exporter: onnxruntime's attention fusion knows its graphs, and not those of its successor.
    """
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation, and LSTMs whose batch varies, which ONNX's do
        torch.onnx.export(
            net,
            (torch.ones(2, length, dtype=torch.int64),),
            data,
            input_names=["tokens"],
            output_names=["logits"],
            dynamic_axes={"tokens": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model = _without_zero_states(onnx.load_model_from_string(data.getvalue()))
    onnx.checker.check_model(model, full_check=True)
    return model


def _without_zero_states(model: onnx.ModelProto) -> onnx.ModelProto:
    """An LSTM begins with zeros: the exporter spells them out in a dozen nodes, which no backend needs."""
    for node in model.graph.node:
        if node.op_type == "LSTM":
            del node.input[4:]
    while dead := [n for n in model.graph.node if not _read(model, n)]:
        for node in dead:
            model.graph.node.remove(node)
    return model


def _read(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    names = {name for n in model.graph.node for name in n.input} | {o.name for o in model.graph.output}
    return any(output in names for output in node.output)


def write_model(
    folder: Path,
    net: nn.Module,
    corpus: Corpus,
    tokenizer: Tokenizer,
    report: Mapping[str, object],
    seed: int,
) -> None:
    """Write the model folder; what is there of an earlier one is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx_model(net, tokenizer.length), folder / "model.onnx")
    order = np.random.default_rng(seed).permutation(len(corpus.training.texts))
    calibration = [corpus.training.texts[i] for i in order[:CALIBRATION]]
    np.savez_compressed(folder / "calibration.npz", tokens=encode(calibration, tokenizer))
    tokens = encode(corpus.test.texts, tokenizer)
    np.savez_compressed(folder / "evaluation.npz", tokens=tokens, label=np.array(corpus.test.labels))
    golden = [{"text": t, "tokens": tokenizer.encode(t)} for t in corpus.test.texts[:: _every(corpus)]]
    _write_json(folder / "golden.json", {"length": tokenizer.length, "examples": golden})
    (folder / "labels.txt").write_text("\n".join(corpus.intents) + "\n", "utf-8")
    (folder / "vocabulary.txt").write_text("\n".join(tokenizer.vocabulary) + "\n", "utf-8")
    _write_json(folder / "report.json", report)
    shutil.copyfile(tokenizer_module.__file__, folder / "tokenizer.py")
    said = f"CLINC150, {report['intents']} intents, {report['architecture']}"
    text = (TEMPLATES / "model.toml").read_text("utf-8").replace("DESCRIPTION", said)
    (folder / "model.toml").write_text(text, "utf-8")


def write_recipe(folder: Path, model: str) -> None:
    """A recipe for `models/<model>`, and the one that all of the project extend, unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base.toml").exists():
        shutil.copyfile(TEMPLATES / "base.toml", folder / "base.toml")
    recipe = f'extends = "base.toml"\nmodel   = "{model}"\nversion = "1.0.0"\n'
    (folder / f"{model}.toml").write_text(recipe, "utf-8")


def _every(corpus: Corpus) -> int:
    return max(1, len(corpus.test.texts) // GOLDEN)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")
