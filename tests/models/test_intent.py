"""The text classifier: its texts, how they become tokens, and that padding never counts."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from .conftest import PROJECT, Sample, assert_same_data, read_sample

pytestmark = pytest.mark.slow

FOLDER = PROJECT / "models" / "intent"
Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def dataset() -> ModuleType:
    """`dataset.py` as a module: it stands in no package."""
    spec = importlib.util.spec_from_file_location("intent_dataset", FOLDER / "dataset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def lines(name: str) -> list[str]:
    return (FOLDER / name).read_text("utf-8").splitlines()


def test_generating_the_corpus_in_another_process_gives_the_same_texts(dataset: ModuleType) -> None:
    code = "import dataset, hashlib; print(hashlib.sha256(repr(dataset.generate()).encode()).hexdigest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=FOLDER,
            env={"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert dataset.generate() == dataset.generate()
    assert dataset.generate(seed=1) != dataset.generate(seed=2)


def test_the_committed_data_is_the_generated_corpus(dataset: ModuleType, intent: Sample) -> None:
    corpus = dataset.generate()
    assert lines("labels.txt") == list(corpus.labels)
    assert lines("vocabulary.txt") == list(dataset.vocabulary(e.text for e in corpus.training))
    texts = [e.text for e in corpus.evaluation]
    np.testing.assert_array_equal(dataset.encode(texts, lines("vocabulary.txt")), intent.evaluation["tokens"])
    labels = [corpus.labels.index(e.intent) for e in corpus.evaluation]
    assert labels == intent.evaluation["label"].tolist()


def test_no_text_is_in_both_training_and_evaluation(dataset: ModuleType) -> None:
    corpus = dataset.generate()
    assert len(corpus.training) == dataset.TRAINING
    assert len(corpus.evaluation) == dataset.EVALUATION
    assert not {e.text for e in corpus.training} & {e.text for e in corpus.evaluation}


def test_the_vocabulary_covers_every_token_and_leaves_some_words_unknown(
    dataset: ModuleType, intent: Sample
) -> None:
    tokens = intent.evaluation["tokens"]
    assert tokens.max() < len(lines("vocabulary.txt"))
    assert lines("vocabulary.txt")[:2] == ["<padding>", "<unknown>"]
    assert (tokens == dataset.UNKNOWN).any()


def test_a_text_is_cut_or_padded_to_the_models_length(dataset: ModuleType) -> None:
    known = ["<padding>", "<unknown>", "to", "berlin"]
    short, long = dataset.encode(["To Berlin, now!", "to " * 30], known)
    assert short.tolist() == [2, 3, 1] + [0] * 13
    assert long.tolist() == [2] * 16


def test_padded_positions_never_reach_the_maximum(intent: Sample) -> None:
    """An independent LSTM, step by step in numpy, takes the maximum over the words alone."""
    from sprue.graph import weights

    w = {name: array.astype(np.float64) for name, array in weights(intent.onnx).items()}
    tokens = intent.evaluation["tokens"][:20]
    assert (tokens == 0).any()
    expected = [
        states_of(w, row)[row != 0].max(axis=0) @ w["classifier.weight"].T + w["classifier.bias"]
        for row in tokens
    ]
    np.testing.assert_allclose(intent.logits(tokens), np.stack(expected), rtol=1e-4, atol=1e-5)


def states_of(w: dict[str, np.ndarray], row: np.ndarray) -> np.ndarray:
    """[16, 2 * hidden]: the LSTM of the ONNX specification (gates input, output, forget, cell)."""
    hidden = w["lstm.recurrent_weights"].shape[2]
    both = []
    for direction, steps in ((0, range(len(row))), (1, range(len(row) - 1, -1, -1))):
        state, cell = np.zeros(hidden), np.zeros(hidden)
        states = np.zeros((len(row), hidden))
        for step in steps:
            gates = (
                w["lstm.input_weights"][direction] @ w["embedding.weight"][row[step]]
                + w["lstm.recurrent_weights"][direction] @ state
                + w["lstm.bias"][direction].reshape(2, -1).sum(axis=0)
            )
            enter, leave, forget = (1 / (1 + np.exp(-g)) for g in np.split(gates[: 3 * hidden], 3))
            cell = forget * cell + enter * np.tanh(gates[3 * hidden :])
            state = leave * np.tanh(cell)
            states[step] = state
        both.append(states)
    return np.concatenate(both, axis=1)


@pytest.mark.slow
def test_training_again_gives_the_same_data_and_as_good_a_network(
    intent: Sample, script: Script, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="needs torch (the extra `train`)")
    done = script("intent/train.py", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (tmp_path / "model.toml").write_bytes((FOLDER / "model.toml").read_bytes())
    again = read_sample(tmp_path)
    assert_same_data(again, intent)
    for name in ("vocabulary.txt", "labels.txt"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
    assert [n.name for n in again.onnx.graph.node] == [n.name for n in intent.onnx.graph.node]
    assert again.accuracy() >= 0.95
