"""The MLPerf Tiny models as ONNX, read from Google's .tflite files with their weights, into an own project.

    python models/mlperf_tiny/import_tflite.py --out PROJECT [--spoken]
    sprue build PROJECT/recipes/kws.toml

Keyword spotting (DS-CNN), visual wake words (MobileNet), image classification (ResNet-8) and anomaly
detection (autoencoder), from `$SPRUE_DATA/mlperf-tiny` (Apache-2.0, MLCommons). Their data sets are not
there: inputs are synthesised (inputs.py) and the right answers are the float model's own. So a build says how
near an artifact stays to float, and nothing of how good the models are, except `kws` with --spoken: then it
is judged on words spoken by espeak-ng, whose labels are true. README.md says more.

The classifiers give logits. Their Softmax is left out: where two classes tie, it magnifies one int8 step of a
logit to more than what is tolerated of any output, and it changes no answer.

The file called `kws_ref_model_float32` holds int8 weights, for which LiteRT rounds activations while it runs;
its ONNX has those weights as floats. The others are float32 throughout.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

PROJECT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":  # run as a script: the other modules are found from the checkout's root
    sys.path[0] = str(PROJECT)

from models.mlperf_tiny import inputs, speech  # noqa: E402
from models.mlperf_tiny.rebuild import rebuild  # noqa: E402

SEED, CALIBRATION, EVALUATION = 20261125, 128, 128


@dataclass(frozen=True)
class Original:
    """The float file, the int8 file that MLCommons made of it, and how to draw one input.

    `metric`: `accuracy` against the float model's answers, `mae` of what an autoencoder makes of its input.
    """

    float_file: str
    int8_file: str
    sample: Callable[[np.random.Generator], NDArray[np.float64]]
    metric: str = "accuracy"

    def samples(self, count: int, seed: int = SEED) -> NDArray[np.float32]:
        """[count, ...], NHWC."""
        random = np.random.default_rng(seed)
        return np.stack([self.sample(random) for _ in range(count)]).astype(np.float32)


ORIGINALS = {
    "kws": Original("kws_ref_model_float32", "kws_ref_model", inputs.keywords),
    "vww": Original("vww_96_float", "vww_96_int8", inputs.picture(96, 1.0)),
    "resnet": Original("pretrainedResnet", "pretrainedResnet_quant", inputs.picture(32, 255.0)),
    "ad01": Original("ad01_fp32", "ad01_int8", inputs.machine, "mae"),
}
MODEL = """source = "model.onnx"
metric = "{metric}"                    # {meaning}
licenses = ["Apache-2.0"]

[data]
calibration = "calibration.npz"
evaluation  = "evaluation.npz"
"""
SPOKEN = "spoken"
MEANINGS = {
    "accuracy": "the share of answers that are the float model's own",
    SPOKEN: "of words spoken by espeak-ng",
    "mae": "between what went in and what came out, in dB",
}
RECIPE = """model   = "{name}"
version = "1.0.0"

[accept]
max_drop = {drop}                        # {why}

[target.server-cpu]
precision = ["float32", "int8-static"]

[target.mobile]
precision = ["int8"]

[target.cortex-m4]
precision = ["int8"]
border    = "int8"                     # as MLCommons' int8 files, and as every microcontroller runs them
"""
DROPS = {
    "accuracy": ("0.1 ", "MLCommons' own int8 files change up to one answer of ten on such inputs"),
    SPOKEN: ("0.03", "of the share of words that are recognised"),
    "mae": ("0.05", "dB, of 4.7; MLCommons' own int8 file loses 0.07"),
}


def write(name: str, original: Original, data: Path, out: Path, *, spoken: bool = False) -> None:
    """The model's folder and its recipe in the project `out`. `spoken`: judged on words, with true labels."""
    import onnxruntime as ort

    made = rebuild((data / f"{original.float_file}.tflite").read_bytes(), softmax=False)
    folder = out / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    (out / "recipes").mkdir(exist_ok=True)
    onnx.save(made, folder / "model.onnx")
    label: NDArray[np.generic]
    if spoken:
        samples, labels = speech.words(CALIBRATION + EVALUATION, SEED)
        label = labels[CALIBRATION:]
    else:
        samples = original.samples(CALIBRATION + EVALUATION)
        session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        answers = session.run(None, {"x": samples[CALIBRATION:]})[0].argmax(axis=1)
        label = answers if original.metric == "accuracy" else samples[CALIBRATION:]
    np.savez_compressed(folder / "calibration.npz", x=samples[:CALIBRATION])
    np.savez_compressed(folder / "evaluation.npz", x=samples[CALIBRATION:], label=label)
    kind = SPOKEN if spoken else original.metric
    model = MODEL.format(metric=original.metric, meaning=MEANINGS[kind])
    (folder / "model.toml").write_text(model)
    drop, why = DROPS[kind]
    (out / "recipes" / f"{name}.toml").write_text(RECIPE.format(name=name, drop=drop, why=why))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the project's folder")
    parser.add_argument("--spoken", action="store_true", help="kws: words spoken by espeak-ng")
    given = parser.parse_args()
    if given.spoken and not speech.available():
        parser.error(f"espeak-ng is not here; on Debian: {speech.INSTALL}")
    data = Path(os.environ.get("SPRUE_DATA") or PROJECT.parent / "shared" / "data") / "mlperf-tiny"
    missing = [o.float_file for o in ORIGINALS.values() if not (data / f"{o.float_file}.tflite").is_file()]
    if missing:
        parser.error(f"{data} lacks {missing[0]}.tflite; set SPRUE_DATA to the folder that holds mlperf-tiny")
    for name, original in ORIGINALS.items():
        write(name, original, data, given.out, spoken=given.spoken and name == "kws")
        print(f"{name}: {given.out / 'models' / name}")


if __name__ == "__main__":
    main()
