"""Who keeps the accuracy that it was told to keep, in how many bytes, and how fast?

NNCF's accuracy-controlled quantization, Microsoft Olive's search with a goal, and sprue with
`precision = "auto"` are each given the same float model, the same calibration and evaluation data, and the
same largest drop of accuracy. Then the file that each left behind is run on the evaluation data by its plain
runtime, one sample at a time, in a process that knows nothing of who made it. What counts is that figure, not
what a tool says of itself; a file that drops more than was allowed is accepted wrongly.

Subjects: models/digits, and two chatbots (a BiLSTM and a transformer) trained on the domain banking of
CLINC150, skipped where that is not in ../shared/data. sprue runs once with each runtime, `prefer = "size"`,
so that it is compared with each peer on the peer's own runtime.

Seconds are those of whole processes with one thread for each numeric library, from an empty cache, byte code
and disk warm. A peer is done when its file is saved and its accuracy measured; so for sprue two times are
given: until its last verdict, and of the whole command, which also measures latency and memory of all that
passed, and freezes a bundle. NNCF and Olive are left at their defaults, except that NNCF is told of
transformers, and that Olive stops at the first model that meets its goal, or after 12.

    python benchmarks/quantizers.py [--drops 0 0.01] [--only digits ...] [--chatbots FOLDER] [--seed N]

`--chatbots`: where trained chatbots are kept for the next run. Needs the extras `train` and `openvino`;
Olive is installed as by olive.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a script: the other benchmarks are found from the checkout's root
    sys.path[0] = str(ROOT)

from benchmarks import olive  # noqa: E402
from benchmarks.peers import installed  # noqa: E402
from benchmarks.selected import target_here  # noqa: E402

SAME = 1e-6
"""Two accuracies: Olive's has single precision."""
PORTION, MOST = 32, 12
RUNTIMES = {"NNCF": "openvino", "Olive": "onnxruntime"}
RECIPE = """
model = "{name}"

[accept]
max_drop = {drop}

[target.{target}]
backend   = "{backend}"
precision = "auto"
prefer    = "size"
"""


@dataclass(frozen=True)
class Subject:
    """`folder`: a model as sprue has it, with model.toml, calibration.npz and evaluation.npz."""

    folder: Path
    source: Path
    classes: int

    @property
    def name(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Answer:
    """What a tool made. `file`: what its runtime opens; None with the reason in `said` if there is none.

    `promised`: the accuracy that the tool measured itself. `seconds` to decide, and of the `whole` process.
    """

    file: Path | None
    promised: float
    size: int
    seconds: float
    whole: float
    said: str = ""


@dataclass(frozen=True)
class Row:
    who: str
    drop: float
    subject: str
    answer: Answer
    truth: float | None
    kept: bool


def main() -> None:
    if sys.argv[1:2] == ["--nncf"]:
        nncf_alone(Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
        return
    if sys.argv[1:2] == ["--run"]:
        run_alone(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subjects = ["digits", "bilstm", "transformer"]
    parser.add_argument("--drops", nargs="+", type=float, default=[0.0, 0.01], help="of the accuracy")
    parser.add_argument("--only", nargs="+", choices=subjects, default=subjects)
    parser.add_argument("--chatbots", type=Path, help="a folder outside of the checkout")
    parser.add_argument("--seed", type=int, default=1, help="of the chatbots' training")
    given = parser.parse_args()
    python = installed(olive.ENVIRONMENT, olive.PACKAGES)
    from sprue.machine import fingerprint

    packages = ", ".join(f"{name} {version(name)}" for name in ("nncf", "openvino", "onnxruntime"))
    print(f"{fingerprint()}; load {os.getloadavg()[0]:.1f}; {packages}, {olive.PACKAGES[0]}")
    with tempfile.TemporaryDirectory(prefix="sprue-quantizers-") as folder:
        rows = []
        for name in given.only:
            chatbots = given.chatbots or Path(folder) / "chatbots"
            subject = subject_of(name, chatbots.resolve() / f"seed{given.seed}" / "models", given.seed)
            if subject is None:
                print(f"{name}: skipped, CLINC150 is not in ../shared/data")
                continue
            rows += compare(subject, given.drops, Path(folder), python)
    summary(rows)


def subject_of(name: str, chatbots: Path, seed: int) -> Subject | None:
    """None where its data are missing. A chatbot that is not there is trained."""
    if name == "digits":
        folder = ROOT / "models" / "digits"
        return Subject(folder, folder / "digits.onnx", 10)
    made = chatbots / name
    if not (made / "model.toml").is_file():
        wanted = ["--domain", "banking", "--architecture", name, "--alone", "--seed", str(seed)]
        script = str(ROOT / "models" / "chatbot" / "train.py")
        command = [sys.executable, script, *wanted, "--out", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "CLINC150 is not in" in done.stderr:
            return None
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return Subject(made, made / "model.onnx", len((made / "labels.txt").read_text("utf-8").split()))


def compare(subject: Subject, drops: Sequence[float], folder: Path, python: Path) -> list[Row]:
    reference = truth("onnxruntime", subject.source, subject)
    assert reference is not None
    with np.load(subject.folder / "evaluation.npz", allow_pickle=False) as arrays:
        count = len(arrays["label"])
    size = subject.source.stat().st_size
    print(f"{subject.name}: {count} evaluation samples, float {reference:.4f}, {size} bytes")
    print("  max_drop  who                promised  the file    bytes  seconds")
    tools: dict[str, tuple[str, Callable[[Subject, float, Path], Answer]]] = {
        "NNCF": ("openvino", nncf),
        "sprue, openvino": ("openvino", lambda *given: sprue("openvino", *given)),
        "Olive": ("onnxruntime", lambda *given: olive_search(python, *given)),
        "sprue, onnxruntime": ("onnxruntime", lambda *given: sprue("onnxruntime", *given)),
    }
    rows = []
    for drop in drops:
        for who, (runtime, quantize) in tools.items():
            place = folder / f"{subject.name}-{drop}-{who.replace(', ', '-')}"
            place.mkdir()
            answer = quantize(subject, drop, place)
            found = truth(runtime, answer.file, subject) if answer.file else None
            kept = answer.file is None or (found is not None and found >= reference - drop - SAME)
            rows.append(Row(who, drop, subject.name, answer, found, kept))
            show(rows[-1])
    return rows


def show(row: Row) -> None:
    answer = row.answer
    if answer.file is None:
        print(f"  {row.drop:<8}  {row.who:18} no file: {answer.said}", flush=True)
        return
    given = "does not load" if row.truth is None else f"{row.truth:8.4f}"
    whole = f" ({answer.whole:.1f} with latency, memory and bundle)" if answer.whole > answer.seconds else ""
    print(
        f"  {row.drop:<8}  {row.who:18} {answer.promised:8.4f}  {given} {answer.size:8} "
        f"{answer.seconds:8.1f}{whole}{'' if row.kept else '  FALLS SHORT'}",
        flush=True,
    )


def summary(rows: Sequence[Row]) -> None:
    """What each accepted wrongly, and sprue beside each peer. Exits with 1 if sprue accepted wrongly."""
    for who in dict.fromkeys(r.who for r in rows):
        mine = [r for r in rows if r.who == who]
        files = [r for r in mine if r.answer.file is not None]
        differ = sum(r.truth is None or abs(r.answer.promised - r.truth) > SAME for r in files)
        print(
            f"{who}: {sum(not r.kept for r in files)} of {len(files)} files fall short of the constraint, "
            f"{differ} answer otherwise than promised; no file {len(mine) - len(files)} times"
        )
    made = {(r.who, r.subject, r.drop): r.answer for r in rows if r.truth is not None}
    for peer, runtime in RUNTIMES.items():
        ours = f"sprue, {runtime}"
        pairs = [
            (answer, made[ours, subject, drop])
            for (who, subject, drop), answer in made.items()
            if who == peer and (ours, subject, drop) in made
        ]
        if pairs:
            beside(peer, pairs)
    if any(not r.kept for r in rows if r.who.startswith("sprue")):
        raise SystemExit("sprue accepted what falls short of its constraint")


def beside(peer: str, pairs: Sequence[tuple[Answer, Answer]]) -> None:
    sizes = [ours.size / theirs.size for theirs, ours in pairs]
    decided = statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs)
    whole = statistics.median(theirs.seconds / ours.whole for theirs, ours in pairs)
    print(
        f"sprue beside {peer}, medians of {len(pairs)}: {statistics.median(sizes):.2f} of its size "
        f"({min(sizes):.2f} to {max(sizes):.2f}; aim: at most 1); decides {decided:.1f} times as fast "
        f"(aim: more than 1), {whole:.1f} with all that it measures besides"
    )


def truth(runtime: str, file: Path, subject: Subject) -> float | None:
    """The accuracy of a file on the evaluation data, as its plain runtime gives it in a fresh process.

    None where the runtime does not load it.
    """
    command = [sys.executable, __file__, "--run", runtime, str(file), str(subject.folder)]
    done = subprocess.run(command, env=olive.environment(), capture_output=True, text=True, check=False)
    return None if done.returncode else float(done.stdout)


def run_alone(runtime: str, file: Path, data: Path) -> None:
    arrays, labels = read(data / "evaluation.npz")
    answers: Callable[[dict[str, Any]], Any]
    if runtime == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        answers = lambda row: session.run(None, row)[0]  # noqa: E731
    else:
        import openvino

        compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        answers = lambda row: next(iter(compiled(row).values()))  # noqa: E731
    rows = ({name: array[i : i + 1] for name, array in arrays.items()} for i in range(len(labels)))
    right = [int(answers(row).argmax()) == label for row, label in zip(rows, labels, strict=True)]
    print(float(np.mean(right)))


def read(file: Path) -> tuple[dict[str, Any], Any]:
    """Inputs by name, and labels (None if there are none)."""
    with np.load(file, allow_pickle=False) as stored:
        arrays = dict(stored)
    labels = arrays.pop("label", None)
    return arrays, labels


def nncf(subject: Subject, drop: float, folder: Path) -> Answer:
    out = folder / "model.xml"
    given = [str(subject.source), str(subject.folder), str(drop), str(out)]
    command = [sys.executable, __file__, "--nncf", *given]
    took, reason = _timed(command, folder)
    if reason:
        return Answer(None, 0.0, 0, took, took, f"it ended with {reason}")
    promised = json.loads((folder / "promised.json").read_text())
    return Answer(out, promised, sum(f.stat().st_size for f in (out, out.with_suffix(".bin"))), took, took)


def nncf_alone(source: Path, data: Path, drop: float, out: Path) -> None:
    """As NNCF's documentation has it; and the accuracy of the model that it returns, as it measured that.

    The last time that it asks for all of the data, it asks for the model that it then returns. Without its
    telemetry, which with no network would wait some 20 s for it at the end.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python marks "not there"
    import nncf
    import openvino

    calibration, _ = read(data / "calibration.npz")
    arrays, labels = read(data / "evaluation.npz")
    portions = [
        ({n: a[i : i + PORTION] for n, a in arrays.items()}, labels[i : i + PORTION])
        for i in range(0, len(labels), PORTION)
    ]
    measured: list[float] = []

    def validate(model: Any, given: Any) -> tuple[float, None]:
        right = [next(iter(model(x).values())).argmax(axis=1) == y for x, y in given]
        found = float(np.concatenate(right).mean())
        if sum(map(len, right)) == len(labels):
            measured.append(found)
        return found, None

    model = openvino.Core().read_model(source)
    transformer = any(op.get_type_name() == "Softmax" for op in model.get_ops())
    made = nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset([{n: a[i : i + 1] for n, a in calibration.items()} for i in range(_count(calibration))]),
        nncf.Dataset(portions),
        validate,
        max_drop=drop,
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
    )
    openvino.save_model(made, out)
    (out.parent / "promised.json").write_text(json.dumps(measured[-1]))


def _count(arrays: dict[str, Any]) -> int:
    return len(next(iter(arrays.values())))


def olive_search(python: Path, subject: Subject, drop: float, folder: Path) -> Answer:
    """Up to the first model that meets the goal; all of MOST where Olive's search breaks off.

    Told to stop, Olive 0.13 ends with a TypeError at the first model that it cannot make.
    """
    for stop in (True, False):
        took, reason = _olive_once(python, subject, drop, folder, stop=stop)
        if not reason:
            break
    files = list((folder / "made").glob("*.onnx*"))
    if reason or not files:
        return Answer(None, 0.0, 0, took, took, reason or f"none of {MOST} met the goal")
    footprint = json.loads((folder / "made" / "footprint.json").read_text())
    kept = [n["metrics"]["value"] for n in footprint.values() if n["is_pareto_frontier"] and n["from_pass"]]
    promised = max(found["accuracy-accuracy_score"]["value"] for found in kept)
    size = sum(f.stat().st_size for f in files)
    return Answer(folder / "made" / "model.onnx", promised, size, took, took)


def _olive_once(
    python: Path, subject: Subject, drop: float, folder: Path, *, stop: bool
) -> tuple[float, str]:
    """Seconds, and why it failed ("" if it did not)."""
    for name in ("cache", "made"):
        shutil.rmtree(folder / name, ignore_errors=True)
    goal = {"type": "max-degradation", "value": drop}
    strategy = {"execution_order": "joint", "sampler": "tpe", "stop_when_goals_met": stop, "max_iter": MOST}
    config = olive.config(folder, subject.source, subject.folder, subject.classes, goal=goal, portion=1) | {
        "passes": {"quantize": {"type": "OnnxQuantization", "data_config": "calibration"}},
        "search_strategy": strategy,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return _timed(olive.command(python), folder)


def _timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Seconds, and why it failed: the last line that it said, "" if it did not fail."""
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=olive.environment(), capture_output=True, text=True, check=False
    )
    said = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    return time.perf_counter() - started, said if done.returncode else ""


def sprue(backend: str, subject: Subject, drop: float, folder: Path) -> Answer:
    (folder / "models").mkdir()
    (folder / "models" / subject.name).symlink_to(subject.folder)
    (folder / "recipes").mkdir()
    recipe = folder / "recipes" / f"{subject.name}.toml"
    recipe.write_text(RECIPE.format(name=subject.name, drop=drop, backend=backend, target=target_here()))
    places = ["--cache", "cache", "--store", "store"]
    command = [sys.executable, "-m", "sprue", "build", str(recipe), *places, "--json"]
    started = decided = time.perf_counter()
    with (
        (folder / "said.json").open("w") as output,
        subprocess.Popen(
            command, cwd=folder, env=olive.environment(), stdout=output, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:  # what it tells of its steps, as they end
            if '/verify", "state": "done"' in line:
                decided = time.perf_counter()
    whole = time.perf_counter() - started
    said = json.loads((folder / "said.json").read_text() or '{"bundle": null}')
    if not said["bundle"]:
        return Answer(None, 0.0, 0, whole, whole, f"exit {process.returncode}")
    (target,) = said["targets"]
    kept = next(v for v in target["variants"] if v["variant"] == target["kept"])
    artifact = Path(said["bundle"]["folder"]) / "targets" / target["target"] / "artifact"
    file = artifact / ("model.onnx" if backend == "onnxruntime" else "model.xml")
    return Answer(folder / file, kept["metric"], kept["size"], decided - started, whole, kept["variant"])


if __name__ == "__main__":
    main()
