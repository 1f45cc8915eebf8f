"""What a build finds for itself: candidates for `auto`, layers that stay in float, a search's trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

Run = Callable[..., Any]
Case = tuple[ModelProto, dict[str, Any]]
RECIPE = "recipes/tiny.toml"


def built(project: Path, sprue: Run, text: str, *options: str, code: int = 0) -> dict[str, Any]:
    (project / RECIPE).write_text(f'model = "tiny"\n{text}')
    done = sprue(project, "build", RECIPE, "--json", *options)
    assert done.returncode == code, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def states(told: dict[str, Any]) -> dict[str, str]:
    return {v["variant"]: v["state"] for v in told["targets"][0]["variants"]}


@pytest.mark.slow
def test_auto_tries_what_the_backends_offer_and_says_why(project: Path, sprue: Run) -> None:
    told = built(project, sprue, '[target.null]\nprecision = "auto"\nthreads = [1, 2]\n')
    assert list(states(told)) == [
        f"null-{p}{t}" for p in ("int8-static", "float32") for t in ("", "-2threads")
    ]
    offered = {v["variant"]: v["offered"] for v in told["targets"][0]["variants"]}
    assert offered["null-int8-static"] == "as small"
    (folder,) = (project / "bundles" / "tiny").glob("0.1.0-*")
    kept = json.loads((folder / "evidence" / "variants.json").read_text())
    assert {v["variant"]: v["offered"] for v in kept} == offered
    again = built(project, sprue, '[target.null]\nprecision = "auto"\nthreads = [1, 2]\n')
    assert set(again["actions"].values()) == {"cached"}


@pytest.mark.slow
def test_one_of_the_variants_that_are_offered_may_be_asked_for(project: Path, sprue: Run) -> None:
    auto = '[target.null]\nprecision = "auto"\n'
    assert list(states(built(project, sprue, auto, "--variant", "null-float32"))) == ["null-float32"]
    (project / RECIPE).write_text(f'model = "tiny"\n{auto}')
    done = sprue(project, "build", RECIPE, "--variant", "null-float16")
    assert done.returncode == 2
    assert "no backend offers null-float16" in done.stderr
    assert "null-int8-static, null-float32" in done.stderr


def test_auto_leaves_out_what_needs_calibration_data_that_are_not_there(project: Path, sprue: Run) -> None:
    toml = project / "models" / "tiny" / "model.toml"
    toml.write_text(toml.read_text().replace('calibration = "calibration.npz"\n', ""))
    told = built(project, sprue, '[target.null]\nprecision = "auto"\n')
    assert states(told) == {"null-int8-static": "failed", "null-float32": "verified"}
    assert "needs calibration data" in told["targets"][0]["variants"][0]["reason"]


@pytest.mark.slow
def test_int8_that_breaks_is_mixed_with_float_and_nothing_is_tried_twice(project: Path, sprue: Run) -> None:
    text = '[target.null]\nbackend = "rough"\nprecision = "int8-mixed"\n'
    told = built(project, sprue, text)
    assert states(told) == {"rough-int8-static": "failed", "rough-int8-mixed1": "verified"}
    assert told["targets"][0]["kept"] == "rough-int8-mixed1"
    assert "1 of 2 layers" in told["targets"][0]["variants"][1]["offered"]
    assert set(built(project, sprue, text)["actions"].values()) == {"cached"}


@pytest.mark.slow
def test_auto_mixes_no_layers_where_another_int8_of_the_backend_holds(project: Path, sprue: Run) -> None:
    auto = '[target.null]\nbackend = "rough"\nprecision = "auto"\n'
    found = states(built(project, sprue, auto))
    assert list(found) == ["rough-int8-static", "rough-float32", "rough-int8-dynamic"]
    assert found["rough-int8-static"] == "failed"
    alone = states(built(project, sprue, auto, "--variant", "rough-int8-mixed"))
    assert alone == {"rough-int8-static": "failed", "rough-int8-mixed1": "verified"}, "asked for by name"


@pytest.mark.slow
def test_no_layers_are_mixed_for_size_where_something_as_small_holds(project: Path, sprue: Run) -> None:
    text = '[target.null]\nbackend = "rough"\nprecision = ["float32", "int8-mixed"]\n'
    found = states(built(project, sprue, text + 'prefer = "size"\n'))
    assert found == {"rough-float32": "verified", "rough-int8-static": "failed"}
    assert "rough-int8-mixed1" in states(built(project, sprue, text))


@pytest.mark.slow
def test_int8_that_holds_is_not_mixed(project: Path, sprue: Run) -> None:
    told = built(project, sprue, '[target.null]\nprecision = "int8-mixed"\n')
    assert states(told) == {"null-int8-static": "verified"}
    assert "tiny/sensitivity" not in told["actions"]


@pytest.mark.slow
def test_smaller_networks_are_tried_beside_the_model_as_it_is(project: Path, sprue: Run) -> None:
    """Pruned, the file is smaller; sparse or clustered it is not, and that is said with figures."""
    lists = 'prune = 0.75\nsparsity = 0.25\ncluster = 200\nprefer = "size"\n'
    lists += "accept.max_drop = 1\naccept.steps = 1e4\n"
    told = built(project, sprue, f"[target.null]\n{lists}")
    by_id = {v["variant"]: v for v in told["targets"][0]["variants"]}
    whole, pruned = by_id["null-float32"], by_id["null-float32-pruned75"]
    assert len(by_id) == 2 * 2 * 2
    assert told["targets"][0]["kept"].startswith("null-float32-pruned75")
    assert pruned["state"] == "verified"
    assert pruned["size"] < whole["size"]
    for name in ("null-float32-sparse25", "null-float32-clustered200"):
        lost = by_id[name]
        assert lost["state"] == "refused"
        assert lost["size"] >= whole["size"]
        assert "neither faster nor smaller than null-float32" in lost["reason"]
        assert (
            f"deflated, as for a download, {lost['deflated']} instead of {whole['deflated']}"
            in lost["reason"]
        )


@pytest.mark.slow
def test_for_size_the_weights_that_8_bits_ruin_go_to_half_and_nothing_larger_is_tried(
    project: Path, sprue: Run
) -> None:
    """`exact` holds whole numbers from -128 to 127, which 8 bits keep; `fine` holds half precision."""
    rng = np.random.default_rng(2)
    fine = rng.standard_normal((16, 128)).astype(np.float16).astype(np.float32)
    exact = rng.integers(-128, 128, (128, 8)).astype(np.float32)
    exact[0], exact[1] = -128, 127
    nodes = [
        helper.make_node("MatMul", ["x", "fine"], ["a"], "first"),
        helper.make_node("Tanh", ["a"], ["t"], "tanh"),
        helper.make_node("MatMul", ["t", "exact"], ["y"], "last"),
    ]
    border = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", w]) for n, w in (("x", 16), ("y", 8))]
    held = [numpy_helper.from_array(v, k) for k, v in (("fine", fine), ("exact", exact))]
    graph = helper.make_graph(nodes, "fine", border[:1], border[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    tiny = project / "models" / "tiny"
    (tiny / "tiny.onnx").write_bytes(model.SerializeToString())
    x = rng.standard_normal((2000, 16)).astype(np.float32)
    label = (np.tanh(x @ fine) @ exact).argmax(axis=1)
    np.savez(tiny / "calibration.npz", x=x[:64])
    np.savez(tiny / "evaluation.npz", x=x, label=label)
    text = '[accept]\nmax_drop = 0\n[target.server-cpu]\nbackend = "openvino"\nprecision = "auto"\n'
    told = built(project, sprue, text + 'prefer = "size"\n')
    assert states(told) == {
        "openvino-float32": "verified",
        "openvino-int8-weights": "failed",
        "openvino-int8-weights-half1": "verified",
    }
    assert told["targets"][0]["kept"] == "openvino-int8-weights-half1"
    assert any("/halves-" in name for name in told["actions"])


@pytest.mark.slow
def test_the_layer_that_int8_ruins_is_found_and_left_in_float(
    project: Path, sprue: Run, outlier: Case
) -> None:
    model, samples = outlier
    tiny = project / "models" / "tiny"
    (tiny / "tiny.onnx").write_bytes(model.SerializeToString())
    x = samples["x"]
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    label = (np.tanh(np.tanh(x @ weights["a"]) @ weights["b"]) @ weights["c"]).argmax(axis=1)
    np.savez(tiny / "calibration.npz", x=x)
    np.savez(tiny / "evaluation.npz", x=x, label=label)
    text = '[accept]\nmax_drop = 0.1\n[target.server-cpu]\nprecision = "int8-mixed"\n'
    told = built(project, sprue, text)
    assert states(told) == {"onnxruntime-int8-static": "failed", "onnxruntime-int8-mixed1": "verified"}
    ranking = [n for n in told["actions"] if n.endswith("/sensitivity")]
    assert ranking == ["tiny/sensitivity"]


@pytest.mark.slow
def test_a_search_that_ends_early_goes_on_where_it_stopped(project: Path, sprue: Run) -> None:
    pytest.importorskip("optuna", reason="needs the extra search")
    lists = '[target.null]\nprecision = ["float32", "int8"]\nprefer = "size"\nthreads = [1, 2, 3]\n'
    lists += "cluster = [2]\n"
    short = built(project, sprue, f'[search]\nbudget = "1 h"\ntrials = 4\n{lists}')
    assert len(states(short)) == 4
    longer = built(project, sprue, f'[search]\nbudget = "1 h"\ntrials = 8\n{lists}')
    assert list(states(longer))[:4] == list(states(short))
    assert len(states(longer)) == 8
    before = {n for n in short["actions"] if n.endswith("/verify")}
    assert {longer["actions"][n] for n in before} == {"cached"}
    whole = built(project, sprue, f'[search]\nbudget = "1 h"\n{lists}')
    assert len(states(whole)) == 2 * 3 * 2, "all there is"


@pytest.mark.slow
def test_one_variant_of_a_search_may_be_asked_for(project: Path, sprue: Run) -> None:
    pytest.importorskip("optuna", reason="needs the extra search")
    text = '[search]\nbudget = "1 h"\n[target.null]\nthreads = [1, 2, 3]\n'
    assert list(states(built(project, sprue, text, "--variant", "null-float32-2threads"))) == [
        "null-float32-2threads"
    ]
    done = sprue(project, "build", RECIPE, "--variant", "null-float32-9threads")
    assert done.returncode == 2
    assert "did you mean 'null-float32-" in done.stderr


@pytest.mark.slow
def test_a_search_whose_budget_ends_before_anything_passes_says_what_came_nearest(
    project: Path, sprue: Run
) -> None:
    pytest.importorskip("optuna", reason="needs the extra search")
    (project / RECIPE).write_text(
        'model = "tiny"\n[search]\nbudget = "0.001 s"\n[accept]\natol = 0.2\nrtol = 0\nsteps = 0\n'
        '[target.null]\nbackend = "drifts"\nprecision = ["float32", "float16"]\nthreads = [1, 2, 3]\n'
    )
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 1, done.stderr
    assert "no bundle: no variant passed for null" in done.stdout
    assert "null: of 2 trials, drifts-float32 came nearest, at 1.25 times what is allowed" in done.stdout
    assert "None" not in done.stdout
    assert not (project / "bundles").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[search]\n[target.mobile]\n", "budget"),
        ('[search]\nbudget = "5 minutes"\n[target.mobile]\n', "a duration is a number and a unit"),
        ("[search]\nbudget = 0\n[target.mobile]\n", "greater than 0"),
        ('[target.mobile]\nprecision = ["auto", "float32"]\n', "'auto' stands alone"),
        ("[target.mobile]\nspinning = true\n", "tflite do not read 'spinning'"),
        ("[target.mobile]\nprune = 1.5\n", "less than 1"),
        ('[target.mobile]\nborder = "int16"\n', "did you mean 'int8'? allowed: float32, int8"),
        ('[target.mobile]\nborder = "int8"\n', 'precision "float32" of tflite does not go with border'),
        ('[target.mobile]\nborder = "int8"\nprecision = "auto"\n', 'or write precision = "int8-static"'),
        (
            '[target.mobile]\nborder = "int8"\nprecision = ["int8", "int8-dynamic"]\n',
            'precision "int8-dynamic" of tflite does not go with border = "int8"',
        ),
        (
            '[target.server-cpu]\nborder = "int8"\nprecision = "int8"\n',
            'onnxruntime makes no artifact with border = "int8"',
        ),
        ("[target.mobile]\ncluster = 1\n", "greater than or equal to 2"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(
    project: Path, sprue_here: Run, text: str, said: str
) -> None:
    (project / RECIPE).write_text(f'model = "tiny"\n{text}')
    done = sprue_here("show", "--resolved", RECIPE)
    assert done.returncode == 2
    assert said in done.stderr
    assert "recipes/tiny.toml:" in done.stderr
