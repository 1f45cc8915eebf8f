"""From a model's source to a checked, normalised ONNX model.

A Python source runs in a process of its own, so that nothing it imports or changes reaches the build.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from onnx import ModelProto, TensorProto

from sprue import graph
from sprue.errors import SprueError

# Serialised to a file, not to standard output, where the callable's own prints go.
_CALL = """
import importlib.util, pathlib, sys
path, name, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
sys.path.insert(0, str(path.parent))
spec = importlib.util.spec_from_file_location(path.stem, path)
module = importlib.util.module_from_spec(spec)
sys.modules[path.stem] = module
spec.loader.exec_module(module)
function = getattr(module, name, None)
if not callable(function):
    sys.exit(f"sprue: {path.name} has no callable '{name}'")
model = function()
import onnx
if not isinstance(model, onnx.ModelProto):
    sys.exit(f"sprue: {path.name}:{name} returned {type(model).__name__}, not an onnx.ModelProto")
out.write_bytes(model.SerializeToString(deterministic=True))
"""


def call_source(path: Path, function: str, out: Path, timeout: float | None = None) -> ModelProto:
    """Run `function` of the Python file `path` in a new process and read the model that it returns.

    Raises SprueError when it raises, ends its process, returns something else, or takes longer than `timeout`
    seconds.
    """
    command = [sys.executable, "-c", _CALL, str(path), function, str(out)]
    place = f"{path.name}:{function}"
    try:
        done = subprocess.run(
            command,
            cwd=path.parent,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SprueError(f"it took longer than {timeout:g} s", where=place) from error
    text = done.stderr.decode(errors="replace")
    sys.stderr.write(text)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise SprueError(f"the source's process was ended by {name}", where=place)
    if done.returncode != 0:
        last = text.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise SprueError(f"the source failed: {last[0].removeprefix('sprue: ')}", where=place)
    if not out.is_file():
        raise SprueError(
            "the source ended its process before it returned a model",
            where=place,
            remedy=f"let {function} return an onnx.ModelProto, without sys.exit",
        )
    return graph.read_model(out, place)


def checked(model: ModelProto, where: str) -> ModelProto:
    """The model normalised. Raises SprueError for what no backend could build: NaN weights, no batch axis."""
    bad = graph.non_finite_weights(model)
    if bad:
        raise SprueError(
            f"the weight '{bad[0]}' holds NaN or infinity"
            + (f", and {len(bad) - 1} more" if len(bad) > 1 else ""),
            where=where,
            remedy="the training diverged, or the export is broken: train or export it again",
        )
    specs = _tensors(model, where)
    if not specs or not model.graph.output:
        raise SprueError(f"the model has no {'outputs' if specs else 'inputs'}", where=where)
    for spec in specs:
        if not spec.shape:
            raise SprueError(
                f"input '{spec.name}' has no batch axis", where=where, remedy="export it with axis 0 free"
            )
        if spec.shape[0] not in (None, 1):
            raise SprueError(
                f"input {spec} is exported for batches of {spec.shape[0]}",
                where=where,
                remedy="export it with a symbolic batch axis, or with batch 1",
            )
    return graph.normalise(model)


def _tensors(model: ModelProto, where: str) -> tuple[graph.TensorSpec, ...]:
    """The inputs. Raises SprueError for inputs or outputs that are no tensors of numbers."""
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.tensor_type.elem_type
        if kind in (TensorProto.UNDEFINED, TensorProto.STRING) or kind not in TensorProto.DataType.values():
            raise SprueError(
                f"'{value.name}' is not a tensor of numbers",
                where=where,
                remedy="export the model with plain tensors as inputs and outputs, without maps or sequences",
            )
    return graph.inputs(model)
