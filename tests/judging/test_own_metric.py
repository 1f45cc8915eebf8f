"""A user's metric: run with its neighbours beside it, and blamed by file and line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from sprue.errors import SprueError
from sprue.judging.metric import Metric
from sprue.judging.own_metric import own_metric

OUTPUTS = {"y": np.eye(3), "z": np.ones((3, 1))}
LABELS = np.array([0, 1, 1])


def metric(folder: Path, text: str, **files: str) -> Metric:
    (folder / "metrics.py").write_text(text)
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    return own_metric(folder, "metrics.py:score", higher_is_better=True)


def test_it_gets_every_output_by_name_and_the_labels(tmp_path: Path) -> None:
    text = (
        "def score(outputs, labels):\n    return (outputs['y'].argmax(1) == labels).mean() + len(outputs)\n"
    )
    assert metric(tmp_path, text).compute(OUTPUTS, LABELS) == pytest.approx(2 + 2 / 3)


def test_it_may_import_its_neighbours_now_and_later_and_nobody_else_does(tmp_path: Path) -> None:
    text = "import near\ndef score(outputs, labels):\n    import late\n    return near.ONE + late.TWO\n"
    made = metric(tmp_path, text, near="ONE = 1", late="TWO = 2")
    assert made.compute(OUTPUTS, LABELS) == 3.0
    assert not {"near", "late", "metrics"} & set(sys.modules)
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        ("def score(o, l):\n    return float('nan')\n", "the metric returned nan", "metrics.py:score"),
        ("def score(o, l):\n    return -1e999\n", "the metric returned -inf", "metrics.py:score"),
        (
            "def score(o, l):\n    return 'good'\n",
            "the metric returned str, not a number",
            "metrics.py:score",
        ),
        (
            "def score(o, l):\n    return o['y']\n",
            "the metric returned ndarray, not a number",
            "metrics.py:score",
        ),
        (
            "def score(o, l):\n    return 1j\n",
            "the metric returned complex, not a number",
            "metrics.py:score",
        ),
        ("def score(o, l):\n    pass\n", "the metric returned NoneType, not a number", "metrics.py:score"),
        (
            "def score(o, l):\n    x = 1\n    return o['logits']\n",
            "the metric failed: KeyError: 'logits'",
            "metrics.py:3",
        ),
        ("def score(o, l):\n    raise SystemExit(0)\n", "the metric failed: SystemExit: 0", "metrics.py:2"),
    ],
)
def test_what_is_no_finite_number_is_refused(tmp_path: Path, text: str, said: str, where: str) -> None:
    with pytest.raises(SprueError) as caught:
        metric(tmp_path, text).compute(OUTPUTS, LABELS)
    assert (caught.value.what, caught.value.where) == (said, where)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_there\n", "cannot be imported: ModuleNotFoundError"),
        ("def score(:\n", "cannot be imported: SyntaxError"),
        ("raise SystemExit(3)\n", "cannot be imported: SystemExit"),
        ("def scores(o, l):\n    return 1\n", "metrics.py has no function 'score'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SprueError, match="metric") as caught:
        metric(tmp_path, text)
    assert said in caught.value.what
    assert caught.value.where.startswith("metrics.py")
