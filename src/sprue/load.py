#!/usr/bin/env python3
"""The loader that ships beside an artifact: it opens it only where its contract holds and all is whole.

    python3 load.py                  does the contract hold here, and does the artifact answer as it did?
    python3 load.py --machine        this machine, as JSON

    from load import load
    run = load()                     raises ContractError with every reason, instead of answering wrongly
    outputs = run({"image": batch})

It is the same file in every bundle. What differs stands in contract.json: what must hold, and the sha256 of
each file. How a runtime opens its artifact stands in runtime.py. Standard library only, Python 3.8 on; the
runtime is imported last. sprue itself imports `unmet` and `this_machine` from here, to choose and to refuse,
`integers` and `reals` to run what it judges.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import stat
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Json = dict[str, Any]
    Run = Callable[[Mapping[str, Any]], dict[str, Any]]

CONTRACT = "contract.json"
RUNTIME = "runtime.py"
SCHEMA = "sprue-contract/1"
MAX_CONTRACT_BYTES = 16 * 2**20


class ContractError(RuntimeError):
    """The artifact must not be used here. `reasons`: all of them."""

    def __init__(self, name: str, reasons: list[str]) -> None:
        super().__init__("\n  ".join([f"{name} was not loaded:", *reasons]))
        self.reasons = reasons


def load(folder: os.PathLike[str] | None = None) -> Run:
    """Check the contract and every file, then open the artifact in `folder` (default: beside this file).

    The answer maps the model's inputs by name, [samples, ...], to its outputs, in the model's own types. If
    the artifact takes or gives int8 (`border` of contract.json), real numbers are quantized on the way in and
    integers are made real on the way out; what comes in as int8 goes in as it is. Raises ContractError.
    """
    place = Path(folder) if folder is not None else Path(__file__).resolve().parent
    contract = read_contract(place)
    wanted = contract["requires"]
    name = f"{contract['bundle']} for {contract['target']['id']}"
    machine = this_machine(wanted["runtime"], gpu=bool(wanted["engine"]))
    reasons = unmet(wanted, machine) + damaged(place, contract["files"])
    if reasons:
        raise ContractError(name, reasons)
    spec = importlib.util.spec_from_file_location("sprue_runtime", place / RUNTIME)
    if spec is None or spec.loader is None or RUNTIME not in contract["files"]:
        raise ContractError(name, ["it has no runtime that Python could load: see its folder artifact/"])
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing is added to the bundle's files
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    opened: Run = module.open_artifact(place / contract["entry"], contract)
    border = contract.get("border")
    if border is None:
        return opened
    return lambda inputs: reals(opened(integers(inputs, border["inputs"])), border["outputs"])


def integers(arrays: Mapping[str, Any], edges: Mapping[str, Any]) -> Json:
    """Real numbers as int8, of those arrays that have a `scale` in `edges` and are no int8 already.

    As ONNX's QuantizeLinear: divided in float32, rounded half to even, clipped. Raises ValueError for NaN.
    """
    import numpy as np

    made = dict(arrays)
    for name, edge in edges.items():
        if "scale" not in edge or name not in made or made[name].dtype == np.int8:
            continue
        steps = np.rint(np.asarray(made[name], np.float32) / np.float32(edge["scale"]))
        if np.isnan(steps).any():
            raise ValueError(f"the input '{name}' holds NaN, which int8 cannot")
        made[name] = np.clip(steps + np.float32(edge["zero_point"]), -128, 127).astype(np.int8)
    return made


def reals(arrays: Mapping[str, Any], edges: Mapping[str, Any]) -> Json:
    """int8 as the float32 that it stands for, of those arrays that have a `scale` in `edges`."""
    import numpy as np

    made = dict(arrays)
    for name, edge in edges.items():
        if "scale" in edge and name in made:
            steps = made[name].astype(np.float32) - np.float32(edge["zero_point"])
            made[name] = steps * np.float32(edge["scale"])
    return made


def read_contract(folder: Path) -> Json:
    """contract.json. Raises ContractError for what is none."""
    path = folder / CONTRACT
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_CONTRACT_BYTES + 1)
        value = json.loads(data) if len(data) <= MAX_CONTRACT_BYTES else None
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise ValueError(f"not {SCHEMA}")
        return value
    except (OSError, ValueError, RecursionError) as error:
        raise ContractError(str(folder), [f"{CONTRACT} cannot be read: {error}"]) from error


def damaged(folder: Path, files: Mapping[str, str]) -> list[str]:
    """What is wrong with the files: relative path -> sha256."""
    wrong = []
    for path, expected in sorted(files.items()):
        if path.startswith("/") or ".." in path.split("/"):
            wrong.append(f"{path} leaves its folder")
            continue
        try:
            seen = _sha256(folder / path)
        except OSError as error:
            wrong.append(f"{path} cannot be read: {error.strerror}")
            continue
        if seen != expected:
            wrong.append(f"{path} is damaged: fetch it again")
    return wrong


def unmet(wanted: Mapping[str, Any], machine: Mapping[str, Any]) -> list[str]:
    """Why an artifact that wants this must not be loaded on this machine; nothing when it may.

    `wanted`: os and arch ("any": whichever), features, runtime (package -> versions), engine (what a compiled
    engine is bound to). `machine`: as `this_machine` describes it.
    """
    reasons = [
        f"it is for {key} {wanted[key]}, this is {machine[key]}"
        for key in ("os", "arch")
        if wanted[key] not in ("any", machine[key])
    ]
    there = machine["features"]
    missing = [f for f in wanted["features"] if there is not None and f not in there]
    if missing:
        reasons.append(f"the processor has no {', '.join(missing)}")
    elif wanted["features"] and there is None:
        reasons.append(f"whether the processor has {', '.join(wanted['features'])} cannot be told here")
    for package, versions in sorted(wanted["runtime"].items()):
        here = machine["runtime"].get(package)
        if here is None:
            reasons.append(f"{package} is not installed: pip install '{package}{versions}'")
        elif not within(here, versions):
            reasons.append(f"{package} is {here}, it needs {versions}: pip install '{package}{versions}'")
    for key, value in sorted(wanted["engine"].items()):
        have = machine["engine"].get(key)
        if have != value:
            reasons.append(f"its engine is for {key} {value}, this is {have or 'none'}")
    return reasons


def within(version: str, versions: str) -> bool:
    """Whether a version lies in a range such as ">=1.22,<2"; by its numbers, whatever follows them."""
    here = _numbers(version)
    for part in versions.split(","):
        sign, bound = re.fullmatch(r"(>=|<|==)([0-9.]+)", part).groups()  # type: ignore[union-attr]  # or an error
        length = max(len(here), len(_numbers(bound)))
        one, other = (n + (0,) * (length - len(n)) for n in (here, _numbers(bound)))
        if not {">=": one >= other, "<": one < other, "==": one == other}[sign]:
            return False
    return True


def this_machine(packages: Iterable[str] = (), *, gpu: bool = False) -> Json:
    """This machine; its GPU, too, if asked. `runtime`: the versions of those `packages` that are there."""
    names = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "aarch64", "darwin": "macos"}
    system = "android" if hasattr(sys, "getandroidapilevel") else platform.system().lower()
    capability = _compute_capability() if gpu else None
    return {
        "os": names.get(system, system),
        "arch": names.get(platform.machine().lower(), platform.machine().lower()),
        "features": _features(),
        "runtime": {p: v for p, v in ((p, _version(p)) for p in packages) if v is not None},
        "engine": {} if capability is None else {"compute-capability": capability},
    }


def _features() -> list[str] | None:
    """What the processor can, as Linux names it, with dashes; None where no /proc tells."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return None if line is None else sorted({f.replace("_", "-") for f in line[1].split()})


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _compute_capability() -> str | None:
    """Of the first NVIDIA GPU, as its driver tells (CUDA driver API, attributes 75 and 76)."""
    import ctypes

    try:
        cuda = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
            return None
        for value, attribute in ((major, 75), (minor, 76)):
            if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
                return None
    except (OSError, AttributeError):
        return None
    return f"{major.value}.{minor.value}"


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(n) for n in match[0].split(".")) if match is not None else ()


def _sha256(path: Path) -> str:
    seen = hashlib.sha256()
    with path.open("rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(22, "not a plain file")
        for block in iter(lambda: stream.read(1 << 20), b""):
            seen.update(block)
    return seen.hexdigest()


def prove(folder: Path) -> int:
    """Load the artifact, and hold its answers against golden/: how many. Raises ContractError."""
    import numpy as np

    contract = read_contract(folder)
    run = load(folder)
    with np.load(folder / "golden" / "inputs.npz", allow_pickle=False) as file:
        inputs = dict(file)
    with np.load(folder / "golden" / "outputs.npz", allow_pickle=False) as file:
        expected = dict(file)
    made = run(inputs)
    allowed = contract["tolerance"]
    for name, want in expected.items():
        step = float(want.max() - want.min()) / 255
        limit = allowed["atol"] + allowed["rtol"] * np.abs(want) + allowed["steps"] * step
        have = made.get(name)
        if have is None or have.shape != want.shape or not (np.abs(have - want) <= limit).all():
            said = f"output '{name}' is not what it was when the bundle was made: do not use this runtime"
            raise ContractError(contract["bundle"], [said])
    return len(next(iter(inputs.values())))


def main() -> None:
    here = Path(__file__).resolve().parent
    if sys.argv[1:] == ["--machine"]:
        contract = read_contract(here) if (here / CONTRACT).exists() else {"requires": {"runtime": {}}}
        print(json.dumps(this_machine(contract["requires"]["runtime"], gpu=True), indent=2))
    elif sys.argv[1:]:
        sys.exit("usage: load.py [--machine]")
    else:
        try:
            print(f"the contract holds, and {prove(here)} golden samples are answered as before")
        except ContractError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
