"""tflite-runtime runs what is built for it, and refuses the rest instead of computing nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest
from sprue.targets.tflite.tflite_runtime import FEATURE, INSTALL, VARIABLE, python

from sprue.errors import SprueError
from sprue.target import Precision

from .build import BACKEND, compiled, mobile, reference, variant, worst
from .test_quantize import CASES, LIMITS

pytest.importorskip("ai_edge_quantizer", reason="needs the extra sprue[mobile]")
needs_runtime = pytest.mark.skipif(python() is None, reason=f"{VARIABLE} is not set: {INSTALL}")
each_case = pytest.mark.parametrize("name", CASES)


@needs_runtime
@each_case
@pytest.mark.parametrize("precision", LIMITS)
def test_what_is_built_for_tflite_runtime_runs_there(name: str, precision: Precision, tmp_path: Path) -> None:
    source, samples = CASES[name]
    runner = compiled(source, precision, samples, tmp_path, mobile(FEATURE))
    expected = reference(source, samples)
    assert worst(runner.run(samples), expected) < LIMITS[precision]
    assert runner.profile().notes["runtime"].startswith("tflite-runtime ")


@needs_runtime
@each_case
@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-static"])
def test_one_scale_a_row_is_refused_there(name: str, precision: Precision, tmp_path: Path) -> None:
    source, samples = CASES[name]
    compiled(source, precision, samples, tmp_path)
    with pytest.raises(SprueError, match="tflite-runtime refuses it"):
        BACKEND.load(tmp_path, variant(precision, mobile(FEATURE)))


def test_without_such_a_python_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, samples = CASES["vision"]
    compiled(source, "float32", samples, tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(SprueError, match=VARIABLE):
        BACKEND.load(tmp_path, variant("float32", mobile(FEATURE)))
