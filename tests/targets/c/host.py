"""Generated C on the machine that runs the tests: many models in one program, under the sanitizers.

`python -m ziglang cc` where there is no gcc. The program is called with a model's index and reads and writes
raw tensors, so that a crash in one model is one failed call.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sprue.targets.c.emit import Source

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
PLAIN = ("-O1", "-g0", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno")
SANITIZERS = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all")
Tensors = Mapping[str, NDArray[np.generic]]


def compiler() -> list[str]:
    gcc = shutil.which("gcc")
    return [gcc] if gcc else [sys.executable, "-m", "ziglang", "cc"]


def fused() -> tuple[str, ...]:
    """The flag for fused multiply-add, where this processor has it: then floats equal the Cortex-M4's."""
    if platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists():
        return ()
    return ("-mfma",) if " fma " in Path("/proc/cpuinfo").read_text() else ()


@dataclass(frozen=True)
class Program:
    """Models compiled into one executable."""

    path: Path
    sources: Sequence[Source]

    def run(self, index: int, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """One run of one model. Raises RuntimeError with the sanitizer's message."""
        source = self.sources[index]
        fed = b"".join(np.ascontiguousarray(inputs[p.name], p.value.dtype).tobytes() for p in source.inputs)
        done = subprocess.run(
            [self.path, str(index)], input=fed, capture_output=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace").strip()[:2000])
        made, at = {}, 0
        for port in source.outputs:
            data = done.stdout[at : at + port.value.bytes]
            made[port.name] = np.frombuffer(data, port.value.dtype).reshape(port.value.shape)
            at += port.value.bytes
        return made


def build(folder: Path, sources: Sequence[Source], flags: Sequence[str] = (*PLAIN, *SANITIZERS)) -> Program:
    """Compile every model (prefix `m<index>`) with warnings as errors, and link them with a main()."""
    for source in sources:
        for name, text in source.files.items():
            (folder / name).write_text(text + _soiled(name, text) if name.endswith(".c") else text)
    (folder / "main.c").write_text(_main(sources))
    files = [*(f"m{i}.c" for i in range(len(sources))), "main.c"]
    command = [*compiler(), *WARNINGS, *flags]
    batches = [files[i : i + 24] for i in range(0, len(files), 24)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda b: _run([*command, "-c", *b], folder), batches))
    errors = [d.stderr for d in done if d.returncode]
    assert not errors, errors[0][:4000]
    linked = _run([*command, *sorted(p.name for p in folder.glob("*.o")), "-o", "program"], folder)
    assert linked.returncode == 0, linked.stderr[:4000]
    return Program(folder / "program", sources)


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)


def _soiled(name: str, text: str) -> str:
    """A function that leaves large numbers in the arena, as another run may: none may reach a result."""
    prefix = name.removesuffix(".c")
    if f" {prefix}_arena;" not in text:  # every tensor has its own place, or there are none
        return f"\nvoid {prefix}_soil(void);\nvoid {prefix}_soil(void) {{}}\n"
    return f"""
void {prefix}_soil(void);
void {prefix}_soil(void)
{{
    for (uint32_t i = 0; i < sizeof {prefix}_arena.bytes; ++i) {{
        {prefix}_arena.bytes[i] = 0x7e;
    }}
}}
"""


def _wrapper(index: int, source: Source) -> str:
    """Reads the inputs, runs, writes the outputs. Sizes in bytes, so that C's types do not matter here."""
    lines = [f"void m{index}_soil(void);", f"static int m{index}_main(void)", "{", f"    m{index}_soil();"]
    for port in source.inputs:
        if port.value.bytes:
            call = f"fread(m{index}_input_{port.symbol}(), 1, {port.value.bytes}, stdin)"
            lines.append(f"    if ({call} != {port.value.bytes}) return 3;")
    lines.append(f"    m{index}_run();")
    for port in source.outputs:
        if port.value.bytes:
            call = f"fwrite(m{index}_output_{port.symbol}(), 1, {port.value.bytes}, stdout)"
            lines.append(f"    if ({call} != {port.value.bytes}) return 4;")
    return "\n".join([*lines, "    return 0;", "}", ""])


def _main(sources: Sequence[Source]) -> str:
    indices = range(len(sources))
    headers = "".join(f'#include "m{i}.h"\n' for i in indices)
    table = ", ".join(f"m{i}_main" for i in indices)
    return (
        f"{headers}#include <stdio.h>\n#include <stdlib.h>\n\n"
        + "\n".join(_wrapper(i, s) for i, s in zip(indices, sources, strict=True))
        + f"\nstatic int (*const models[])(void) = {{ {table} }};\n\n"
        "int main(int argc, char **argv)\n{\n"
        "    return argc > 1 ? models[atoi(argv[1])]() : 2;\n}\n"
    )
