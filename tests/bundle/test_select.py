"""Choosing an artifact for a machine: from what the manifest says alone."""

from __future__ import annotations

from typing import Any

import pytest

from sprue.bundle.manifest import ContractEntry, TargetEntry
from sprue.bundle.select import machine_for, select
from sprue.errors import CheckError, SprueError

SERVER: dict[str, Any] = {
    "os": "linux",
    "arch": "x86_64",
    "features": ["avx2", "fma"],
    "runtime": {"onnxruntime": "1.32.0"},
    "engine": {},
}


def entry(name: str, family: str = "server", **changed: Any) -> TargetEntry:
    contract: dict[str, Any] = {"features": [], "runtime": {"onnxruntime": ">=1.30,<2"}, "engine": {}}
    contract |= {k: v for k, v in changed.items() if k in contract}
    facts = {"os": "linux", "arch": "x86_64", "state": "verified"} | changed
    return TargetEntry(
        id=name, family=family, os=facts["os"], arch=facts["arch"], state=facts["state"],
        variant="v", runtime={}, contract=ContractEntry.model_validate(contract),
        entry=f"targets/{name}/artifact/a",
    )  # fmt: skip


PLAIN = entry("plain")
AVX2 = entry("avx2", features=["avx2"])
VNNI = entry("vnni", features=["avx2", "avx512-vnni"])
ARM = entry("arm", arch="aarch64", features=["asimd"])
GPU = entry("gpu", "gpu", runtime={"tensorrt": "==10.9.0"}, engine={"compute-capability": "9.0"})
ALL = [PLAIN, AVX2, VNNI, ARM, GPU]


@pytest.mark.parametrize(
    ("machine", "best"),
    [
        ({}, "avx2"),
        ({"features": []}, "plain"),
        ({"features": ["avx2", "avx512-vnni"]}, "vnni"),
        ({"arch": "aarch64", "features": ["asimd"]}, "arm"),
        ({"runtime": {"tensorrt": "10.9.0"}, "engine": {"compute-capability": "9.0"}}, "gpu"),
    ],
)
def test_what_asks_the_most_of_a_machine_suits_it_best(machine: dict[str, Any], best: str) -> None:
    assert select(ALL, SERVER | machine).best.id == best


def test_the_order_of_targets_changes_nothing() -> None:
    assert [t.id for t in select(ALL, SERVER).fitting] == ["avx2", "plain"]
    assert [t.id for t in select(ALL[::-1], SERVER).fitting] == ["avx2", "plain"]


def test_what_was_executed_comes_before_what_was_only_prepared() -> None:
    prepared = entry("prepared", features=["avx2", "fma"], state="prepared")
    assert select([prepared, PLAIN], SERVER).best is PLAIN
    assert select([prepared, VNNI], SERVER).best is prepared


def test_every_other_artifact_is_refused_with_every_reason() -> None:
    refused = select(ALL, SERVER).refused
    assert refused == {
        "vnni": ("the processor has no avx512-vnni",),
        "arm": ("it is for arch aarch64, this is x86_64", "the processor has no asimd"),
        "gpu": (
            "tensorrt is not installed: pip install 'tensorrt==10.9.0'",
            "its engine is for compute-capability 9.0, this is none",
        ),
    }


def test_nothing_that_fits_is_an_error_with_all_reasons() -> None:
    with pytest.raises(CheckError, match="no artifact suits this machine") as raised:
        _ = select([VNNI, ARM], SERVER | {"runtime": {}}).best
    assert "vnni: the processor has no avx512-vnni; onnxruntime is not installed" in str(raised.value)
    assert "arm: it is for arch aarch64" in str(raised.value)


def test_only_the_family_that_is_asked_for_counts() -> None:
    assert [t.id for t in select(ALL, SERVER, "server").fitting] == ["avx2", "plain"]
    with pytest.raises(CheckError, match="gpu: tensorrt is not installed"):
        _ = select(ALL, SERVER, "gpu").best
    with pytest.raises(SprueError, match="no target of the family 'servr'\n  did you mean 'server'"):
        select(ALL, SERVER, "servr")


def test_this_machine_is_asked_for_the_packages_that_the_targets_name() -> None:
    import onnxruntime

    assert machine_for(ALL)["runtime"] == {"onnxruntime": onnxruntime.__version__}
