"""The effective recipe: extends, merging key by key, defaults, and where each value came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sprue.errors import SprueError
from sprue.recipe import Recipe, load_recipe


def load(project: Path, text: str, base: str | None = None) -> Recipe:
    if base is not None:
        (project / "recipes" / "base.toml").write_text(base)
    (project / "recipes" / "tiny.toml").write_text(text)
    return load_recipe(project / "recipes" / "tiny.toml")


def said(project: Path, text: str, base: str | None = None) -> str:
    with pytest.raises(SprueError) as caught:
        load(project, text, base)
    return str(caught.value).replace(f"{project}/", "")


def origin(recipe: Recipe, key: str) -> tuple[Any, str]:
    value, place = recipe.origins[key]
    return value, Path(place).name


def test_lists_are_alternatives_and_only_pairs_that_exist_are_tried(project: Path) -> None:
    recipe = load(
        project,
        'model = "tiny"\n[target.server-cpu]\nbackend = ["onnxruntime", "openvino"]\n'
        'precision = ["float32", "int8-dynamic", "int8"]\n',
    )
    (choice,) = recipe.choices
    ids = [v.id for v in choice.variants]
    assert ids[:3] == ["onnxruntime-float32", "onnxruntime-int8-dynamic", "onnxruntime-int8-static"]
    assert "openvino-float32" in ids
    assert "openvino-int8-dynamic" not in ids


def test_a_single_value_is_a_list_of_one_and_defaults_fill_the_rest(project: Path) -> None:
    (choice,) = load(project, 'model = "tiny"\n[target.server-cpu]\nprecision = "int8"\n').choices
    (variant,) = choice.variants
    assert (variant.id, variant.settings.threads, choice.prefer) == ("onnxruntime-int8-static", 1, "latency")
    accept = choice.accept
    assert (accept.max_drop, accept.atol, accept.rtol, accept.steps) == (0.01, None, None, None)


def test_accept_is_merged_key_by_key_for_each_target(project: Path) -> None:
    recipe = load(
        project,
        'extends = "base.toml"\nmodel = "tiny"\n[accept]\nmax_drop = 0.02\n'
        "[target.server-cpu]\naccept.max_drop = 0.5\n[target.mobile]\naccept.steps = 3\n",
        "[accept]\nmax_drop = 0.04\natol = 0.125\nrtol = 0.25\n[target.mobile.accept]\nrtol = 0.75\n",
    )
    accepts = {c.target.id: c.accept for c in recipe.choices}
    cpu, mobile = accepts["server-cpu"], accepts["mobile"]
    assert (cpu.max_drop, cpu.atol, cpu.rtol, cpu.steps) == (0.5, 0.125, 0.25, None)
    assert (mobile.max_drop, mobile.atol, mobile.rtol, mobile.steps) == (0.02, 0.125, 0.75, 3)
    assert origin(recipe, "target.server-cpu.accept.max_drop") == (0.5, "tiny.toml:6")
    assert origin(recipe, "target.server-cpu.accept.atol") == (0.125, "base.toml:3")
    assert origin(recipe, "target.mobile.accept.max_drop") == (0.02, "tiny.toml:4")
    assert origin(recipe, "target.mobile.accept.rtol") == (0.75, "base.toml:6")


def test_a_recipe_overrides_what_it_extends_value_by_value(project: Path) -> None:
    recipe = load(
        project,
        'extends = "base.toml"\nversion = "2.0.0"\n[target.server-cpu]\nprecision = "int8"\n',
        'model = "tiny"\nversion = "1.0.0"\n[target.server-cpu]\nprecision = ["float32", "int8"]\n'
        'threads = 3\n[target.mobile]\nprefer = "size"\n',
    )
    assert recipe.version == "2.0.0"
    assert [c.target.id for c in recipe.choices] == ["server-cpu", "mobile"]
    (variant,) = recipe.choices[0].variants
    assert (variant.id, variant.settings.threads) == ("onnxruntime-int8-static-3threads", 3)
    assert origin(recipe, "model") == ("tiny", "base.toml:1")
    assert origin(recipe, "target.server-cpu.precision") == (["int8-static"], "tiny.toml:4")
    assert origin(recipe, "target.server-cpu.threads") == ([3], "base.toml:5")


def test_extends_goes_one_level(project: Path) -> None:
    (project / "recipes" / "first.toml").write_text('model = "tiny"\n')
    words = said(project, 'extends = "base.toml"\n[target.mobile]\n', '# base\nextends = "first.toml"\n')
    assert words == (
        "recipes/base.toml:2: 'base.toml' extends 'first.toml' itself; only one level is allowed\n"
        "  let tiny.toml extend first.toml, or put the values into one file"
    )
    assert "only one level" in said(project, 'extends = "tiny.toml"\n[target.mobile]\n')


@pytest.mark.parametrize("name", ["", "bse.toml", ".", "../models", "a\\u0000b"])
def test_an_extends_that_is_no_file_is_placed(project: Path, name: str) -> None:
    words = said(project, f'model = "tiny"\nextends = "{name}"\n[target.mobile]\n', "[accept]\n")
    assert words.startswith("recipes/tiny.toml:2: there is no recipe '")
    assert "allowed: base.toml" in words


def test_a_mistake_in_what_is_extended_is_placed_there(project: Path) -> None:
    words = said(
        project, 'extends = "base.toml"\nmodel = "tiny"\n[target.mobile]\n', "[accept]\nmaxdrop = 1\n"
    )
    assert words == (
        "recipes/base.toml:2: unknown key 'accept.maxdrop'\n"
        "  did you mean 'max_drop'? allowed: atol, confidence, max_drop, rtol, steps"
    )


@pytest.mark.parametrize("name", ["", "..", ".", "tiny/../tiny", "a\\u0000b", "/tiny"])
def test_a_model_is_the_name_of_a_folder_and_nothing_else(project: Path, name: str) -> None:
    (project / "model.toml").write_text("x = 1")
    (project / "models" / "model.toml").write_text("x = 1")
    words = said(project, f'model = "{name}"\n[target.mobile]\n')
    assert words.startswith("recipes/tiny.toml:1: there is no model '")


def test_the_nearest_project_above_holds_the_model(project: Path) -> None:
    deep = project / "recipes" / "team" / "deep"
    deep.mkdir(parents=True)
    (deep / "r.toml").write_text('model = "tiny"\n[target.mobile]\n')
    assert load_recipe(deep / "r.toml").project == project.resolve()


def test_a_limit_may_be_lowered_and_not_raised(project: Path) -> None:
    recipe = load(project, 'model = "tiny"\n[target.cortex-m4]\nprecision = "int8"\nlimit.ram = "64 KiB"\n')
    target = recipe.choices[0].target
    assert (target.limit_ram, target.limit_flash) == (65536, 2**20)
    assert origin(recipe, "target.cortex-m4.limit.flash") == (2**20, "cortex-m4.toml")
    words = said(project, 'model = "tiny"\n[target.cortex-m4]\nlimit = { flash = "1.5 MiB" }\n')
    assert words.startswith(
        "recipes/tiny.toml:3: limit.flash is 1572864 bytes, but target 'cortex-m4' has only 1048576"
    )


def test_a_target_that_names_an_unknown_backend_is_refused_with_a_place(project: Path) -> None:
    (project / "targets").mkdir()
    (project / "targets" / "box.toml").write_text(
        'description = "x"\nbackends = ["onnxruntme"]\n[platform]\nos = "linux"\narch = "x86_64"\n'
    )
    words = said(project, 'model = "tiny"\n[target.box]\n')
    assert words.startswith(
        "targets/box.toml: there is no backend 'onnxruntme'\n  did you mean 'onnxruntime'?"
    )


def test_a_backend_none_of_whose_precisions_are_asked_for_is_refused(project: Path) -> None:
    words = said(
        project,
        'model = "tiny"\n[target.server-cpu]\nbackend = ["onnxruntime", "openvino"]\n'
        'precision = ["int8-dynamic"]\n',
    )
    assert words.startswith(
        "recipes/tiny.toml:3: backend 'openvino' offers none of the precisions int8-dynamic\n  it offers"
    )


def test_only_keeps_what_is_named(project: Path) -> None:
    recipe = load(
        project, 'model = "tiny"\n[target.server-cpu]\nprecision = ["float32", "int8"]\n[target.mobile]\n'
    )
    assert [c.target.id for c in recipe.only(("mobile",)).choices] == ["mobile"]
    kept = recipe.only((), ("onnxruntime-int8-static",))
    assert [v.id for c in kept.choices for v in c.variants] == ["onnxruntime-int8-static"]
    with pytest.raises(SprueError, match="the recipe has no variant 'onnxruntime-float32'"):
        recipe.only(("mobile",), ("onnxruntime-float32",))
    with pytest.raises(SprueError, match="the recipe has no target 'gpu'"):
        recipe.only(("gpu",))


def test_a_folder_is_no_recipe(project: Path) -> None:
    with pytest.raises(SprueError, match="a folder, and no file\n  allowed: "):
        load_recipe(project / "recipes")


def test_the_shipped_recipes_load() -> None:
    root = Path(__file__).resolve().parents[1]
    for name in ("digits", "intent"):
        recipe = load_recipe(root / "recipes" / f"{name}.toml")
        assert {c.target.id for c in recipe.choices} == {"server-cpu", "gpu", "mobile", "cortex-m4"}
        assert recipe.model.name == name
