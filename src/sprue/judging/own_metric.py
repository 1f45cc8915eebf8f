"""A metric that a user writes: `metric = "metrics.py:score"` in model.toml, a function in the model's folder.

    def score(outputs, labels):      # {output name: [samples, ...]}, [samples, ...]
        return ...                   # a number

It is the recipe's own code. A build runs it, in its workers; nothing else does.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sprue.errors import SprueError
from sprue.judging.metric import Metric

if TYPE_CHECKING:
    from sprue.judging.metric import Array, Outputs

RESAMPLES = 200


def own_metric(folder: Path, name: str, *, higher_is_better: bool) -> Metric:
    """The function of `file.py:function`. Its file may import what lies beside it.

    Raises SprueError when the file cannot be imported or has no such function; the metric does when the
    function raises, or returns what is no finite number.
    """
    file, _, function = name.partition(":")
    path = folder / file
    with _beside(path):
        spec = importlib.util.spec_from_file_location(f"_own_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException as error:  # whatever a user's module does, even exit
            raise _failed("the metric's file cannot be imported", error, path) from error
    found = getattr(module, function, None)
    if not callable(found):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise SprueError(
            f"{file} has no function '{function}'", where=file, remedy=f"it has: {', '.join(names) or 'none'}"
        )

    def compute(outputs: Outputs, labels: Array) -> float:
        with _beside(path):
            return _number(found, dict(outputs), labels, path, name)

    return Metric(name, compute, higher_is_better, labels="any", resamples=RESAMPLES)


def _number(function: Callable[..., Any], outputs: Outputs, labels: Array, path: Path, name: str) -> float:
    try:
        made = function(outputs, labels)
    except BaseException as error:  # the same
        raise _failed("the metric failed", error, path) from error
    plain = isinstance(made, int | float | np.number | np.ndarray) and np.ndim(made) == 0
    if not plain or np.iscomplexobj(made):
        raise SprueError(
            f"the metric returned {type(made).__name__}, not a number", where=name, remedy="return one float"
        )
    if not np.isfinite(value := float(made)):
        raise SprueError(
            f"the metric returned {value}",
            where=name,
            remedy="return a finite number for every set of outputs, also where nothing was answered rightly",
        )
    return value


def _failed(what: str, error: BaseException, path: Path) -> SprueError:
    """Names the last line of the user's own files."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent == path.parent]
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    line = frames[-1].lineno if frames else line
    name = Path(frames[-1].filename).name if frames else path.name
    text = str(error).strip() or "(no message)"
    where = name if line is None else f"{name}:{line}"
    return SprueError(
        f"{what}: {type(error).__name__}: {text}", where=where, remedy="run it on the evaluation data by hand"
    )


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Let the file import its neighbours, and let no other model's file find them afterwards."""
    folder = str(path.parent)
    sys.path.insert(0, folder)
    known = set(sys.modules)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - known:
            place = getattr(sys.modules[name], "__file__", None)
            if place is not None and Path(place).is_relative_to(folder):
                del sys.modules[name]
