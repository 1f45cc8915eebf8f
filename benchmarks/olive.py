"""How long does the closest peer, Microsoft Olive, take for the same steps, cold and when all is cached?

Both sides take models/digits/digits.onnx, optimise it, quantize it to static int8 (QDQ, per channel, 7-bit
weights, uint8 activations, min-max ranges of the same calibration data in portions of 32), and evaluate the
accuracy of the float model and of the int8 model on the same evaluation data. Both are timed as whole
processes, from an interpreter's start to its exit, alternately, with one process at work and one thread for
each numeric library. Cold: an empty cache, but byte code and the pages of the disk are warm on both sides,
after one round that is not counted. Cached: the same command again. A run counts only if it made an int8
model, and a cached one only if its cache was used: exit code 0 alone proves neither.

What only sprue does: checks operators before it builds; runs the steps in a worker process of its own;
compares every output with the float model's within a tolerance; measures latency; syncs what it writes,
hashes what it reads from its cache; freezes a bundle, data and evidence included. What only Olive does:
imports torch and transformers whatever the passes are, and writes its footprint. Its optimiser here is
OnnxPeepholeOptimizer (onnxscript's folding and rewriting), ours is Simplify.

Olive sends a heartbeat when it starts, even with --disable_telemetry, and with no network waits some 10 s for
it at its end. That is no part of a build: CI=1 keeps it from sending any, for which sprue does not care.

Olive is installed with pip into an environment of its own, once, with the versions of onnx, onnxruntime and
numpy that run this script, and with requests, which it imports and does not declare. It is no dependency of
sprue.

    python benchmarks/olive.py [--rounds 5] [--environment FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a script: the other benchmarks are found from the checkout's root
    sys.path[0] = str(ROOT)

from benchmarks.peers import CACHE, installed  # noqa: E402

MODEL = ROOT / "models" / "digits"
SAME = ("numpy", "onnx", "onnxruntime")
PACKAGES = ("olive-ai==0.13.0", "requests", "torch==2.13.0", *(f"{name}=={version(name)}" for name in SAME))
ENVIRONMENT = CACHE / "olive"
PORTION = 32
AIMS = {"cold": 5, "cached": 50}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

RECIPE = """
model = "digits"

[target.server-cpu]
backend   = "onnxruntime"
precision = "int8-static"
"""

# Olive finds data by a script that registers it by name.
SCRIPT = """
import numpy as np, torch
from olive.data.component.dataset import BaseDataset
from olive.data.registry import Registry

@Registry.register_dataset()
def samples(file, **kwargs):
    with np.load(file, allow_pickle=False) as read:
        arrays = dict(read)
    count = len(next(iter(arrays.values())))
    labels = arrays.pop("label", np.zeros(count, np.int64))
    rows = [{name: torch.from_numpy(array[i]) for name, array in arrays.items()} for i in range(count)]
    return BaseDataset(list(zip(rows, map(torch.tensor, labels))))

@Registry.register_post_process()
def answer(output, **kwargs):
    return (output["logits"] if isinstance(output, dict) else output).argmax(dim=-1)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT)
    arguments = parser.parse_args()
    python = installed(arguments.environment, PACKAGES)
    seconds: dict[str, list[float]] = {f"{name} {state}": [] for state in AIMS for name in ("olive", "sprue")}
    accuracies: dict[str, dict[str, float]] = {}
    for round_ in range(arguments.rounds + 1):
        with tempfile.TemporaryDirectory(prefix="sprue-olive-") as folder:
            sides: dict[str, Side] = {
                "olive": Olive(Path(folder) / "olive", python),
                "sprue": Sprue(Path(folder) / "sprue"),
            }
            for state in AIMS:
                for name, side in sides.items():
                    took = side.run(cached=state == "cached")
                    if round_:
                        seconds[f"{name} {state}"].append(took)
            accuracies = {name: side.accuracies() for name, side in sides.items()}
    report(arguments.rounds, seconds, accuracies)


def report(rounds: int, seconds: dict[str, list[float]], accuracies: dict[str, dict[str, float]]) -> None:
    from sprue.machine import fingerprint

    print(f"{fingerprint()}; load {os.getloadavg()[0]:.1f}; medians of {rounds}")
    print("  " + ", ".join(f"{name} {version(name)}" for name in SAME))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for state, aim in AIMS.items():
        for name in ("olive", "sprue"):
            times = seconds[f"{name} {state}"]
            spread = f"{min(times):.2f} to {max(times):.2f}"
            print(f"  {state:6} {name} {statistics.median(times):7.2f} s  ({spread})")
        ratio = medians[f"olive {state}"] / medians[f"sprue {state}"]
        print(f"  {state:6} ratio {ratio:7.1f}    (aim: {aim} or more)")
    for name, measured in accuracies.items():
        print(f"  accuracy, {name}: float {measured['float']:.4f}, int8 {measured['int8']:.4f}")


class Side(Protocol):
    def run(self, *, cached: bool) -> float:
        """Seconds of one whole process. Exits when it did not do what it should."""

    def accuracies(self) -> dict[str, float]:
        """What the last run said of the "float" and of the "int8" model."""


class Olive:
    """`olive run` in a folder of its own. Its cache is in that folder."""

    def __init__(self, folder: Path, python: Path) -> None:
        self._folder = folder
        self._python = python
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(_two_passes(folder), indent=2))

    def run(self, *, cached: bool) -> float:
        took, said = timed(command(self._python), self._folder)
        used = said.count("Loaded model from cache")
        made = self._folder / "made" / "model.onnx"
        if not made.is_file() or used != (len(_two_passes(self._folder)["passes"]) if cached else 0):
            raise SystemExit(f"olive made no model, or used its cache {used} times:\n{said}")
        return took

    def accuracies(self) -> dict[str, float]:
        files = {"float": "input_model_metrics.json", "int8": "metrics.json"}
        read = {kind: json.loads((self._folder / "made" / name).read_text()) for kind, name in files.items()}
        return {kind: said["accuracy-accuracy_score"]["value"] for kind, said in read.items()}


class Sprue:
    """`sprue build` of a project of its own, with models/digits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said: dict[str, Any] = {}
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "digits").symlink_to(MODEL)
        (folder / "recipes").mkdir()
        (folder / "recipes" / "digits.toml").write_text(RECIPE)

    def run(self, *, cached: bool) -> float:
        places = ["--cache", "cache", "--store", "bundles", "-j1", "--json"]
        command = [sys.executable, "-m", "sprue", "build", "recipes/digits.toml", *places]
        took, said = timed(command, self._folder)
        self._said = json.loads(said)
        states = set(self._said["actions"].values())
        if self._said["bundle"] is None or (states == {"cached"}) is not cached:
            raise SystemExit(f"sprue made no bundle, or its actions were {states}:\n{said}")
        return took

    def accuracies(self) -> dict[str, float]:
        (target,) = self._said["targets"]
        (variant,) = target["variants"]
        return {"float": self._said["reference"]["value"], "int8": variant["metric"]}


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Seconds, and what it said on standard output. What it said on standard error is shown if it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    took = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return took, done.stdout


def environment() -> dict[str, str]:
    """Of every process that is timed: one thread for each numeric library. Byte code is kept: that of
    installed packages is there in any case, and an edited checkout would be compiled anew by each process.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | dict.fromkeys(THREADS, "1") | {"CI": "1"}


def command(python: Path) -> list[str]:
    """Runs `config.json` of the folder that it is started in."""
    return [str(python), "-m", "olive", "run", "--config", "config.json", "--disable_telemetry"]


def _two_passes(folder: Path) -> dict[str, Any]:
    passes = {
        "optimise": {"type": "OnnxPeepholeOptimizer"},
        "quantize": {
            "type": "OnnxStaticQuantization",
            "data_config": "calibration",
            "quant_preprocess": False,
            "quant_format": "QDQ",
            "precision": "int8",
            "activation_type": "uint8",
            "per_channel": True,
            "reduce_range": True,
        },
    }
    return {**config(folder, MODEL / "digits.onnx", MODEL, 10), "passes": passes}


def config(
    folder: Path,
    source: Path,
    data: Path,
    classes: int,
    *,
    goal: dict[str, Any] | None = None,
    portion: int = PORTION,
) -> dict[str, Any]:
    """All but `passes`, in the format of Olive 0.13; its script is written to `folder`.

    `data`: the folder of calibration.npz and evaluation.npz. `goal`: of the accuracy. An evaluator without a
    `type` ends Olive with a traceback.
    """
    script = folder / "samples.py"
    script.write_text(SCRIPT)

    def samples(name: str) -> dict[str, Any]:
        return {
            "name": name,
            "user_script": str(script),
            "load_dataset_config": {"type": "samples", "params": {"file": str(data / f"{name}.npz")}},
            "post_process_data_config": {"type": "answer"},
            "dataloader_config": {"type": "default_dataloader", "params": {"batch_size": portion}},
        }

    accuracy = {
        "name": "accuracy",
        "type": "accuracy",
        "data_config": "evaluation",
        "sub_types": [
            {
                "name": "accuracy_score",
                "priority": 1,
                "higher_is_better": True,
                "metric_config": {"task": "multiclass", "num_classes": classes},
                "goal": goal,
            }
        ],
        "user_config": {"inference_settings": {"onnx": {"session_options": {"intra_op_num_threads": 1}}}},
    }
    return {
        "input_model": {"type": "ONNXModel", "model_path": str(source)},
        "systems": {
            "here": {
                "type": "LocalSystem",
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
            }
        },
        "data_configs": [samples("calibration"), samples("evaluation")],
        "evaluators": {"judge": {"type": "OnnxEvaluator", "metrics": [accuracy]}},
        "evaluator": "judge",
        "evaluate_input_model": True,
        "host": "here",
        "target": "here",
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "made"),
        "log_severity_level": 1,
    }


if __name__ == "__main__":
    main()
