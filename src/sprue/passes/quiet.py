"""Keeps the chatter of libraries off the user's terminal, and their side effects out of our process."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is printed, logged or warned inside, undo what `logging.warning` does to the root."""
    root = logging.getLogger()
    handlers, disabled = root.handlers[:], root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers


@contextlib.contextmanager
def quiet_onnxruntime() -> Iterator[None]:
    """`quiet`, and the C++ log of sessions that a library opens for itself."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    try:
        with quiet():
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)  # onnxruntime's own default; it has no getter
