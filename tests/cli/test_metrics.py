"""What a build says of metrics and money: a user's own metric, too little data or too much, a price file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

RECIPE = Path("recipes/tiny.toml")
METRICS = """import pathlib
pathlib.Path({mark!r}).write_text("ran")
def score(outputs, labels):
    return {value}
"""


def own(project: Path, value: str, better: str = "") -> Path:
    """Give the model a metric of its own; the file that it writes when it is run."""
    mark = project / "ran"
    (project / "models/tiny/metrics.py").write_text(METRICS.format(mark=str(mark), value=value))
    path = project / "models/tiny/model.toml"
    path.write_text(path.read_text().replace("\n[data]", f'metric = "metrics.py:score"\n{better}\n[data]'))
    return mark


@pytest.mark.slow
def test_a_users_metric_judges_and_only_a_build_runs_it(project: Path, sprue: Run) -> None:
    mark = own(project, "float((outputs['y'].argmax(axis=1) == labels).mean()) / 2")
    assert sprue(project, "check", RECIPE).returncode == 0
    assert sprue(project, "show", "--resolved", RECIPE).returncode == 0
    assert not mark.exists()
    done = sprue(project, "build", RECIPE, "--json")
    assert done.returncode == 0, done.stdout
    assert mark.exists()
    said = json.loads(done.stdout)
    assert (said["reference"]["metric"], said["reference"]["value"]) == ("metrics.py:score", 0.5)
    mark.unlink()
    assert sprue(project, "bundle", "verify", "tiny").returncode == 0
    assert sprue(project, "build", RECIPE).returncode == 0
    assert not mark.exists(), "nothing changed, so nothing runs"
    own_file = project / "models/tiny/metrics.py"
    own_file.write_text(own_file.read_text().replace("/ 2", "/ 4"))
    assert json.loads(sprue(project, "build", RECIPE, "--json").stdout)["reference"]["value"] == 0.25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("float('nan')", "models/tiny/metrics.py:score: the metric returned nan"),
        ("'good'", "the metric returned str, not a number"),
        ("outputs['logits']", "models/tiny/metrics.py:4: the metric failed: KeyError: 'logits'"),
    ],
)
def test_a_users_metric_that_gives_no_number_ends_the_build(
    project: Path, sprue: Run, value: str, said: str
) -> None:
    own(project, value)
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 2
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (project / "bundles").exists() or not list((project / "bundles").glob("tiny/*"))


def test_better_is_for_metrics_of_ones_own(project: Path, sprue_here: Run) -> None:
    path = project / "models/tiny/model.toml"
    path.write_text(path.read_text().replace("\n[data]", 'better = "lower"\n[data]'))
    done = sprue_here("check", str(RECIPE))
    assert done.returncode == 2
    assert "model.toml:2: 'better' is for a metric of your own; of accuracy higher is better" in done.stderr


@pytest.mark.parametrize("name", ["../metrics.py:score", "metrics.py:", "metrics.txt:score", "/m.py:score"])
def test_a_metric_outside_of_the_models_folder_is_refused(name: str, project: Path, sprue_here: Run) -> None:
    path = project / "models/tiny/model.toml"
    path.write_text(path.read_text().replace("\n[data]", f'metric = "{name}"\n[data]'))
    done = sprue_here("check", str(RECIPE))
    assert done.returncode == 2
    assert "is not file.py:function in the model's own folder" in done.stderr


@pytest.mark.slow
def test_evaluation_samples_that_are_calibration_samples_are_named(project: Path, sprue: Run) -> None:
    """In the template all of them are: leave two."""
    path = project / "models/tiny/calibration.npz"
    x = np.load(path)["x"]
    rng = np.random.default_rng(9)
    np.savez(path, allow_pickle=False, x=np.concatenate([rng.random((3, 4), np.float32), x[[7, 2]]]))
    checked = sprue(project, "check", RECIPE)
    assert checked.returncode == 0
    assert "warning: 2 of 20 evaluation samples are calibration samples, too: 2, 7." in checked.stdout
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 0
    assert "2 of 20 evaluation samples are calibration samples, too: 2, 7." in done.stdout
    (reference,) = (project / "bundles").glob("tiny/*/evidence/reference.json")
    assert json.loads(reference.read_bytes())["overlap"] == {"calibration": [3, 4], "evaluation": [2, 7]}


@pytest.mark.slow
def test_confidence_that_so_few_samples_cannot_give_fails_and_says_how_many_it_takes(
    project: Path, sprue: Run
) -> None:
    path = project / RECIPE
    path.write_text(path.read_text() + "accept.confidence = 0.95\n")
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 1
    assert "with 95% confidence it may be up to 0.1192; allowed is 0.01" in done.stdout
    assert "not even of the same answers: it takes 268" in done.stdout
    path.write_text(path.read_text().replace("0.95", "0.5"))
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 2
    assert "one of 0.9, 0.95, 0.99" in done.stderr
    path.write_text(path.read_text().replace("accept.confidence = 0.5\n", ""))
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 0
    assert "<=0.1192 *" in done.stdout
    assert "* within what is accepted as measured, but not proven to be" in done.stdout
    assert "chosen and judged on the same 20 samples (halves of 268 each would keep" in done.stdout


@pytest.mark.slow
def test_enough_samples_are_halved_to_choose_and_to_judge(project: Path, sprue: Run) -> None:
    import onnxruntime as ort

    x = np.random.default_rng(4).standard_normal((800, 4)).astype(np.float32)
    session = ort.InferenceSession(project / "models/tiny/tiny.onnx", providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    np.savez(project / "models/tiny/evaluation.npz", allow_pickle=False, x=x, label=y.argmax(axis=1))
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 0
    (variants,) = (project / "bundles").glob("tiny/*/evidence/variants.json")
    (kept,) = json.loads(variants.read_bytes())
    halves = [kept[name]["samples"] for name in ("choosing", "judging")]
    assert sum(halves) == 800
    assert min(halves) >= 268
    assert (
        f"null: chosen on {halves[0]} samples, judged on the other {halves[1]}: worse by 0.0000"
        in done.stdout
    )


PRICES = """[price.null]
amount = 3.6
currency = "EUR"
per = "core-hour"
"""


def priced(project: Path, prices: str) -> None:
    path = project / RECIPE
    path.write_text('prices = "prices.toml"\n' + path.read_text())
    (project / "recipes/prices.toml").write_text(prices)


def test_a_price_of_an_unknown_unit_is_refused_with_file_line_and_key(project: Path, sprue_here: Run) -> None:
    priced(project, PRICES.replace("core-hour", "core-minute"))
    path = project / RECIPE
    path.write_text(path.read_text().replace("target.null", "target.server-cpu"))
    done = sprue_here("check", str(RECIPE))
    assert done.returncode == 2
    assert "prices.toml:4: 'price.null.per' is 'core-minute'" in done.stderr
    assert "did you mean 'core-hour'?" in done.stderr


@pytest.mark.slow
def test_a_price_is_of_a_million_inferences_and_decides_nothing(project: Path, sprue: Run) -> None:
    before = json.loads(sprue(project, "build", RECIPE, "--json").stdout)
    priced(project, PRICES)
    done = json.loads(sprue(project, "build", RECIPE, "--json").stdout)
    (variant,) = done["targets"][0]["variants"]
    cpu = variant["measured"]["timing"]["cpu"]
    assert variant["price"]["currency"] == "EUR"
    assert variant["price"]["amount"] == pytest.approx(cpu * 1000, rel=1e-4)
    assert before["targets"][0]["variants"][0]["price"] is None
    priced_again = PRICES.replace("3.6", "7.2")
    (project / "recipes/prices.toml").write_text(priced_again)
    again = json.loads(sprue(project, "build", RECIPE, "--json").stdout)
    assert again["targets"][0]["variants"][0]["price"]["amount"] == pytest.approx(cpu * 2000, rel=1e-4)
    assert again["bundle"]["id"] == done["bundle"]["id"], "prices stay out of what the id covers"
    table = sprue(project, "build", RECIPE).stdout
    assert "per million" in table
    assert " EUR" in table
