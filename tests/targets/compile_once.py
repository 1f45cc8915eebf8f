"""Compile one model for every precision of one backend; run as a process of its own by test_contract.py.

Arguments: backend, target id, model.onnx, samples.npz, output folder, and the precisions in their order.
"""

import sys
from pathlib import Path

import numpy as np

from sprue.backend import Variant, find
from sprue.graph import read_model
from sprue.target import load_target

name, target, source, samples, out, *precisions = sys.argv[1:]
backend = find(name)
with np.load(samples, allow_pickle=False) as archive:
    calibration = dict(archive)
for precision in precisions:
    variant = Variant(load_target(target), name, precision)  # type: ignore[arg-type]  # the caller's are valid
    model = read_model(Path(source))
    for change in backend.passes(variant):
        model = change.apply(model, calibration)
    folder = Path(out) / precision
    folder.mkdir(parents=True)
    backend.compile(model, variant, calibration, folder)
