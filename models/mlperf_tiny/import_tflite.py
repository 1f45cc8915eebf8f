"""The MLPerf Tiny models as ONNX, read from Google's .tflite files with their weights, into an own project.

    python models/mlperf_tiny/import_tflite.py --out PROJECT
    sprue build PROJECT/recipes/kws.toml

Keyword spotting (DS-CNN), visual wake words (MobileNet), image classification (ResNet-8) and anomaly
detection (autoencoder), from `$SPRUE_DATA/mlperf-tiny` (Apache-2.0, MLCommons). Their data sets are not
there: calibration and evaluation inputs are seeded noise in the range that the int8 originals take, and the
right answers are the float model's own. So a build says how near int8 stays to float on noise, and nothing of
how good the models are. On noise int8 is refused for `kws` (near ties, its softmax swings by up to 0.28) and
for `ad01`; bring data of the real kind to ship them.

The file called `kws_ref_model_float32` holds int8 weights, for which LiteRT rounds activations while it runs;
its ONNX has those weights as floats. The others are float32 throughout.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

PROJECT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":  # run as a script: the other modules are found from the checkout's root
    sys.path[0] = str(PROJECT)

from models.mlperf_tiny.rebuild import rebuild  # noqa: E402

SEED, CALIBRATION, EVALUATION = 20261125, 64, 64


@dataclass(frozen=True)
class Original:
    """The float file, the int8 file that it is compared with, and what its inputs look like: low to high."""

    float_file: str
    int8_file: str
    low: float
    high: float


ORIGINALS = {
    "kws": Original("kws_ref_model_float32", "kws_ref_model", -123.0, 25.0),
    "vww": Original("vww_96_float", "vww_96_int8", 0.0, 1.0),
    "resnet": Original("pretrainedResnet", "pretrainedResnet_quant", 0.0, 255.0),
    "ad01": Original("ad01_fp32", "ad01_int8", -84.0, 15.0),
}
RECIPE = """model   = "{name}"
version = "1.0.0"

[accept]
max_drop = 0.1                         # answers that may change: noise lies near the borders between classes

[target.mobile]
precision = ["int8"]

[target.cortex-m4]
precision = ["int8"]
"""


def write(name: str, original: Original, data: Path, out: Path) -> None:
    """The model's folder and its recipe in the project `out`."""
    import onnxruntime as ort

    made = rebuild((data / f"{original.float_file}.tflite").read_bytes())
    folder = out / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    (out / "recipes").mkdir(exist_ok=True)
    onnx.save(made, folder / "model.onnx")
    random = np.random.default_rng(SEED)
    shape = [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim][1:]
    samples = random.uniform(original.low, original.high, (CALIBRATION + EVALUATION, *shape))
    samples = samples.astype(np.float32)
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    label = session.run(None, {"x": samples[CALIBRATION:]})[0].argmax(axis=1)
    np.savez_compressed(folder / "calibration.npz", x=samples[:CALIBRATION])
    np.savez_compressed(folder / "evaluation.npz", x=samples[CALIBRATION:], label=label)
    files = '[data]\ncalibration = "calibration.npz"\nevaluation  = "evaluation.npz"\n'
    (folder / "model.toml").write_text(f'source = "model.onnx"\nlicenses = ["Apache-2.0"]\n\n{files}')
    (out / "recipes" / f"{name}.toml").write_text(RECIPE.format(name=name))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the project's folder")
    given = parser.parse_args()
    data = Path(os.environ.get("SPRUE_DATA") or PROJECT.parent / "shared" / "data") / "mlperf-tiny"
    missing = [o.float_file for o in ORIGINALS.values() if not (data / f"{o.float_file}.tflite").is_file()]
    if missing:
        parser.error(f"{data} lacks {missing[0]}.tflite; set SPRUE_DATA to the folder that holds mlperf-tiny")
    for name, original in ORIGINALS.items():
        write(name, original, data, given.out)
        print(f"{name}: {given.out / 'models' / name}")


if __name__ == "__main__":
    main()
