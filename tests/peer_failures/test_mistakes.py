"""Peer: misspelt options are ignored; bad values and misspelt names are tracebacks, some with exit code 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from sprue.engine.cache import FORMAT

from .project import QUANTIZED, RECIPE, Project, Run

WRITTEN: dict[str, tuple[str, str, str, str]] = {
    # name: (file, what stands there, what is written instead, what is said)
    "an option of the recipe": (
        RECIPE,
        "precision",
        "precison",
        "recipes/tiny.toml:4: unknown key 'target.server-cpu.precison'\n  did you mean 'precision'?",
    ),
    "an option of the model": (
        "models/tiny/model.toml",
        "calibration =",
        "calibraton =",
        "models/tiny/model.toml:5: unknown key 'data.calibraton'\n  did you mean 'calibration'?",
    ),
    "a gate": (
        RECIPE,
        "precision",
        "accept.max_dorp = 0.01\nprecision",
        "recipes/tiny.toml:4: unknown key 'target.server-cpu.accept.max_dorp'\n  did you mean 'max_drop'?",
    ),
    "a precision": (
        RECIPE,
        "int8-static",
        "int8-statc",
        "is 'int8-statc'\n  did you mean 'int8-static'? allowed: auto, float16, float32, int8-dynamic",
    ),
    "a preference": (
        RECIPE,
        "precision",
        'prefer = "speed"\nprecision',
        "recipes/tiny.toml:4: 'target.server-cpu.prefer' is 'speed'\n  allowed: cost, latency, metric, size",
    ),
    "a metric": (
        "models/tiny/model.toml",
        "\n[data]",
        'metric = "acuracy"\n[data]',
        ":2: there is no metric 'acuracy'\n  did you mean 'accuracy'? allowed: accuracy, auc, cosine, f1",
    ),
    "a type": (RECIPE, "precision", 'accept.max_drop = "little"\nprecision', "accept.max_drop' is 'little'"),
    "a backend": (
        RECIPE,
        '"onnxruntime"',
        '"onnxruntme"',
        "not served by a backend 'onnxruntme'\n  did you mean 'onnxruntime'? allowed: c,",
    ),
    "a target": (
        RECIPE,
        "server-cpu",
        "server-cpuu",
        "there is no target 'server-cpuu'\n  did you mean 'server-cpu'? allowed: ",
    ),
}


@pytest.mark.parametrize("mistake", WRITTEN)
def test_a_typing_mistake_is_one_error_and_nothing_is_built(
    project: Path, sprue_here: Run, mistake: str
) -> None:
    tiny = Project(project, lambda _, *arguments, **environment: sprue_here(*arguments, **environment))
    file, old, new, words = WRITTEN[mistake]
    tiny.write(RECIPE, QUANTIZED)
    text = (tiny.folder / file).read_text()
    assert old in text
    tiny.write(file, text.replace(old, new))
    said = tiny.refused(code=2)
    assert words in said
    assert said.count("error:") == 1
    assert len(said.splitlines()) <= 3
    assert not (tiny.cache / FORMAT / "actions").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--taget", "null"], "No such option"),
        (["--target", "nul"], "no target 'nul'\n  did you mean 'null'?"),
        (["--variant", "null-flot32"], "no variant 'null-flot32'\n  did you mean 'null-float32'?"),
    ],
)
def test_a_misspelt_option_of_the_command_line_is_refused(
    tiny: Project, arguments: list[str], words: str
) -> None:
    assert words in tiny.refused(*arguments, code=2)
    assert not (tiny.cache / FORMAT / "actions").exists()
