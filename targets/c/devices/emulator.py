"""A firmware on an emulated processor: inputs into its memory, its `run` function, outputs out.

What drives the processor is a `Probe`: unicorn in this process (unicorn_core.py), or QEMU in one of its own
(qemu.py) for cores that unicorn does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sprue.errors import CheckError

from .cycles import Counted
from .elf import Firmware, Port

PAINT = 0xA5
STACK = 256 * 1024
"""Bytes of memory for the stack, below its top."""
SECONDS = 120
"""After which a run is given up. The largest models that fit a microcontroller need a few."""


class Outside(Exception):
    """There is no memory at such an address."""


class Probe(Protocol):
    """A started device, waiting. Each method but the first two raises CheckError when the firmware crashes
    or does not come back.
    """

    def write(self, address: int, data: bytes) -> None:
        """Raises Outside."""

    def read(self, address: int, size: int) -> bytes:
        """Raises Outside."""

    def call(self, address: int, what: str) -> int:
        """Call a function without arguments until it returns; its result."""

    def count(self, address: int) -> Counted:
        """Exact number of instructions of a call, as the processor issues them.

        What an IT block skips is counted: it takes its issue slot on a Cortex-M.
        """

    def count_calls(self, address: int) -> list[int]:
        """Instructions of each call that the function makes, in order; with what the callee calls in its
        turn. The function is a straight line of calls, as the firmware's `run` is.
        """


class Emulator:
    """Raises CheckError when the firmware crashes or does not come back."""

    def __init__(self, firmware: Firmware, probe: Probe) -> None:
        self._firmware = firmware
        self._probe = probe
        self._places = {
            p.name: probe.call(p.accessor, "an accessor") for p in (*firmware.inputs, *firmware.outputs)
        }

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """One run. `inputs` in the shapes and dtypes of the firmware's ports."""
        self._feed(inputs)
        self._probe.call(self._firmware.run, "the model")
        return {p.name: self._read(p) for p in self._firmware.outputs}

    def count(self, inputs: Mapping[str, NDArray[np.generic]]) -> Counted:
        """Exact number of instructions of one run, and the cycles that they are estimated to take."""
        self._feed(inputs)
        return self._probe.count(self._firmware.run)

    def count_calls(self, inputs: Mapping[str, NDArray[np.generic]]) -> list[int]:
        """Instructions of each call that `run` makes, in order."""
        self._feed(inputs)
        return self._probe.count_calls(self._firmware.run)

    def stack(self, inputs: Mapping[str, NDArray[np.generic]]) -> int:
        """Bytes of stack that one run touches, measured by painting it first."""
        low = self._firmware.stack_top - STACK
        self._probe.write(low, bytes([PAINT]) * STACK)
        self.run(inputs)
        painted = self._probe.read(low, STACK)
        return len(painted.lstrip(bytes([PAINT])))

    def _feed(self, inputs: Mapping[str, NDArray[np.generic]]) -> None:
        for port in self._firmware.inputs:
            try:
                self._probe.write(self._places[port.name], np.ascontiguousarray(inputs[port.name]).tobytes())
            except Outside as error:
                raise CheckError(f"the input '{port.name}' lies outside the firmware's memory") from error

    def _read(self, port: Port) -> NDArray[np.generic]:
        size = int(np.prod(port.shape, dtype=np.int64)) * port.dtype.itemsize
        try:
            data = self._probe.read(self._places[port.name], size)
        except Outside as error:
            raise CheckError(f"the output '{port.name}' lies outside the firmware's memory") from error
        made: NDArray[np.generic] = np.frombuffer(data, port.dtype).reshape(port.shape)
        return made
