"""The chatbots of CLINC150: the tokenizer that ships with them, and what training writes."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.data import check_inputs
from sprue.graph import inputs, outputs

from .conftest import PROJECT, read_sample

FOLDER = PROJECT / "models" / "chatbot"
VOCABULARY = ["<padding>", "<unknown>", "card", "my", "re", "c", "a", "r", "##fund", "##s", "##f", "##u"]


def _module() -> ModuleType:
    """`tokenizer.py` as a user has it: one file without a package."""
    spec = importlib.util.spec_from_file_location("chatbot_tokenizer", FOLDER / "tokenizer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tokenizer = _module()


def encode(text: str, length: int = 6) -> list[int]:
    found: list[int] = tokenizer.Tokenizer(VOCABULARY, length).encode(text)
    return found


def test_known_words_are_their_line_numbers() -> None:
    assert encode("My CARD!") == [3, 2, 0, 0, 0, 0]


def test_another_word_is_cut_into_the_longest_pieces() -> None:
    assert encode("refunds my cards") == [4, 8, 9, 3, 2, 9]


def test_a_word_that_cannot_be_cut_is_unknown() -> None:
    assert encode("zebra 42") == [1, 1, 0, 0, 0, 0]


def test_apostrophes_join_and_everything_else_separates() -> None:
    assert tokenizer.words("What\u2019s my card-no., 4x4?") == ["whats", "my", "card", "no", "4", "x", "4"]


@given(st.text(), st.integers(1, 8))
def test_any_text_becomes_exactly_so_many_tokens_of_the_vocabulary(text: str, length: int) -> None:
    tokens = encode(text, length)
    assert len(tokens) == length
    assert all(0 <= t < len(VOCABULARY) for t in tokens)


@pytest.fixture(scope="module")
def project(clinc150: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both networks, on four texts an intent: all is as ever but the accuracy."""
    pytest.importorskip("torch", reason="needs torch (the extra `train`)")
    made = tmp_path_factory.mktemp("chatbot")
    for architecture in ("bilstm", "transformer"):
        done = train(made / "models" / architecture, clinc150, "--architecture", architecture)
        assert done.returncode == 0, done.stderr
    return made


def train(out: Path, data: Path, *more: str) -> subprocess.CompletedProcess[str]:
    quick = ["--domain", "banking", "--alone", "--texts", "4"]
    return run("train.py", *quick, "--out", str(out), *more, data=data)


def run(script: str, *arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / script), *arguments]
    variables = {"SPRUE_DATA": str(data), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)


each = pytest.mark.parametrize("architecture", ["bilstm", "transformer"])


@pytest.mark.slow
@each
def test_the_model_has_the_promised_interface_and_accuracy(project: Path, architecture: str) -> None:
    sample = read_sample(project / "models" / architecture)
    there = [str(t) for t in (*inputs(sample.onnx), *outputs(sample.onnx))]
    assert there == ["tokens: int64[?, 24]", "logits: float32[?, 15]"]
    check_inputs(sample.calibration, inputs(sample.onnx), "")
    told = json.loads((sample.model.folder / "report.json").read_text())
    assert sample.accuracy() == pytest.approx(told["test"], abs=1e-4)
    assert told["test"] > 2 / 15


@pytest.mark.slow
@each
def test_padding_and_neighbours_change_no_answer(project: Path, architecture: str) -> None:
    sample = read_sample(project / "models" / architecture)
    rows = sample.evaluation["tokens"][:6]
    alone = np.concatenate([sample.logits(row[None]) for row in rows])
    np.testing.assert_allclose(alone, sample.logits(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@each
def test_the_shipped_tokenizer_reproduces_its_golden_examples(project: Path, architecture: str) -> None:
    folder = project / "models" / architecture
    check = [sys.executable, "-I", str(folder / "tokenizer.py"), str(folder)]
    assert subprocess.run(check, check=False).returncode == 0
    golden = json.loads((folder / "golden.json").read_text())
    golden["examples"][0]["tokens"][0] += 1
    (folder / "golden.json").write_text(json.dumps(golden))
    assert subprocess.run(check, check=False, stderr=subprocess.DEVNULL).returncode == 1


@pytest.mark.slow
def test_the_vocabulary_comes_from_the_training_split_alone(project: Path, clinc150: Path) -> None:
    data = json.loads((clinc150 / "clinc150" / "data_full.json").read_text())
    labels = set((project / "models" / "bilstm" / "labels.txt").read_text().split())
    seen: Counter[str] = Counter()
    texts = [next(t for t, i in data["train"] if i == label) for label in labels]
    assert len(texts) == 15
    for label in labels:
        for text in [t for t, i in data["train"] if i == label][:4]:
            seen.update(re.findall("[a-z]+|[0-9]+", text.replace("'", "")))
    vocabulary = (project / "models" / "bilstm" / "vocabulary.txt").read_text().split()
    pieces = [v.removeprefix("##") for v in vocabulary[2:]]
    assert {word for word, n in seen.items() if n >= 2} <= set(vocabulary)
    assert all(any(piece in word for word in seen) for piece in pieces)


@pytest.mark.slow
def test_training_again_gives_the_same_bytes(project: Path, clinc150: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "models" / "bilstm", clinc150).returncode == 0
    for name in ("model.onnx", "report.json", "vocabulary.txt", "labels.txt", "model.toml"):
        one, other = (p / "models" / "bilstm" / name for p in (project, tmp_path))
        assert one.read_bytes() == other.read_bytes(), name


@pytest.mark.slow
def test_onnxruntime_fuses_every_attention_layer(project: Path) -> None:
    from onnxruntime.transformers import optimizer

    file = project / "models" / "transformer" / "model.onnx"
    made = optimizer.optimize_model(str(file), "bert", num_heads=4, hidden_size=96, opt_level=0)
    assert made.get_fused_operator_statistics()["Attention"] == 2


@pytest.mark.slow
def test_the_recipes_that_training_writes_can_be_built(project: Path) -> None:
    for recipe in ("bilstm", "transformer"):
        command = [sys.executable, "-m", "sprue", "check", str(project / "recipes" / f"{recipe}.toml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_chatbot_that_was_just_trained_is_built_into_a_bundle(clinc150: Path, tmp_path: Path) -> None:
    """On 40 texts of each of 3 intents, in seconds: every target keeps an artifact."""
    pytest.importorskip("torch", reason="needs torch (the extra `train`)")
    for package in ("openvino", "nncf", "ai_edge_litert", "ai_edge_quantizer", "ziglang", "unicorn"):
        pytest.importorskip(package, reason="needs the extras openvino, mobile and embedded")
    chosen = ["--sample", "3", "--alone", "--texts", "40", "--out", str(tmp_path / "models" / "small")]
    done = run("train.py", *chosen, data=clinc150)
    assert done.returncode == 0, done.stderr
    variants = ("onnxruntime-int8-dynamic", "openvino-int8-static", "tflite-int8-dynamic", "c-int8-static")
    options = [o for v in variants for o in ("--variant", v)]  # a static .tflite of an LSTM takes 30 s
    command = [sys.executable, "-m", "sprue", "build", "recipes/small.toml", "--json", "--cache", "cache"]
    built = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    told = json.loads(built.stdout)
    found = {v["variant"]: v for target in told["targets"] for v in target["variants"]}
    assert {name: found[name]["state"] for name in variants} == dict.fromkeys(variants, "verified")
    kept = {target["target"]: target["kept"] for target in told["targets"]}
    assert set(kept) == {"server-cpu", "mobile", "cortex-m4"}
    folder = tmp_path / told["bundle"]["folder"]
    for target, variant in kept.items():
        assert told["reference"]["value"] - found[variant]["metric"] <= 0.01
        assert any((folder / "targets" / target).iterdir())
    verified = [sys.executable, "-m", "sprue", "bundle", "verify", str(folder)]
    assert subprocess.run(verified, cwd=tmp_path, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_a_fleet_has_other_intents_for_each_customer_and_grows(clinc150: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch (the extra `train`)")
    arguments = ["--alone", "--texts", "2", "--intents", "4", "--out", str(tmp_path)]
    for count in (1, 2):
        done = run("fleet.py", "--count", str(count), *arguments, data=clinc150)
        assert done.returncode == 0, done.stderr
    assert "customer-00000: kept" in done.stdout
    labels = [(tmp_path / "models" / f"customer-0000{i}" / "labels.txt").read_text() for i in (0, 1)]
    assert labels[0] != labels[1]
    assert all(len(text.split()) == 4 for text in labels)
    recipes = {p.name for p in (tmp_path / "recipes").iterdir()}
    assert recipes == {"base.toml", "customer-00000.toml", "customer-00001.toml"}


@pytest.mark.slow
def test_a_domain_is_learnt_without_teachers(clinc150: Path, tmp_path: Path) -> None:
    """With teachers, which take longer, accuracy is higher: docs/chatbot.md has the figures."""
    pytest.importorskip("torch", reason="needs torch (the extra `train`)")
    out = tmp_path / "models" / "banking"
    done = run("train.py", "--domain", "banking", "--alone", "--out", str(out), data=clinc150)
    assert done.returncode == 0, done.stderr
    assert read_sample(out).accuracy() >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--domain", "banana"], "no domain 'banana'; it has auto_and_commute, banking"),
        (["--sample", "151"], "a chatbot has 2 to 150 intents, not 151"),
    ],
)
def test_a_wrong_choice_of_intents_is_named(
    more: list[str], said: str, clinc150: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="needs torch (the extra `train`)")
    refused(run("train.py", *more, "--out", str(tmp_path / "models" / "x"), data=clinc150), said)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("out", "said"),
    [("models/x", "set SPRUE_DATA"), ("elsewhere/x", "no folder in a folder 'models'"), (None, "no data of")],
)
def test_missing_data_and_places_that_cannot_be_are_refused(
    out: str | None, said: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="needs torch (the extra `train`)")
    place = tmp_path / out if out else PROJECT / "models" / "banking"
    refused(run("train.py", "--out", str(place), data=tmp_path), said)
    assert not place.exists()


def refused(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
