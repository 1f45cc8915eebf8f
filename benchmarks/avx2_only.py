"""gdb's script: run a program whose onnxruntime is told of no AVX-512, no AVX-VNNI and no AMX.

    gdb -batch -x avx2_only.py --args python ...

onnxruntime has no setting for it, but asks the processor by the instruction cpuid and believes the answer.
Each such instruction of its library gets a breakpoint, and the answer loses those bits; everything else runs
as fast as ever. `CPUID_AT`: the addresses of the instructions in the library, as objdump has them, in hex.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import gdb  # type: ignore[import-untyped]  # it is inside of gdb

LIBRARY = "onnxruntime_pybind11_state"
HIDDEN = {  # leaf 7: (ecx before, register) -> bits
    (0, "rbx"): (16, 17, 21, 26, 27, 28, 30, 31),
    (0, "rcx"): (1, 6, 11, 12, 14),
    (0, "rdx"): (2, 3, 8, 22, 23, 24, 25),
    (1, "rax"): (4, 5),
    (1, "rdx"): (4, 5, 10),
}


def register(name: str) -> int:
    return int(gdb.parse_and_eval(f"${name}")) & 0xFFFFFFFF


def answer() -> None:
    """Let one cpuid happen, and take from its answer what is hidden."""
    leaf, part = register("eax"), register("ecx")
    gdb.execute("stepi", to_string=True)
    for (wanted, name), bits in HIDDEN.items():
        if (leaf, part) == (7, wanted):
            gdb.execute(f"set ${name} = {register(name) & ~sum(1 << bit for bit in bits)}")


for command in ("pagination off", "confirm off", "breakpoint pending on"):
    gdb.execute(f"set {command}")
gdb.execute(f"catch load {LIBRARY}")
gdb.execute("run")
maps = Path(f"/proc/{gdb.selected_inferior().pid}/maps").read_text()
found = re.search(rf"^([0-9a-f]+)-.*{LIBRARY}", maps, re.MULTILINE)
assert found is not None
places = {int(found[1], 16) + int(address, 16) for address in os.environ["CPUID_AT"].split()}
gdb.execute("delete")
for place in places:
    gdb.execute(f"break *{place}", to_string=True)
while gdb.selected_inferior().pid:
    gdb.execute("continue", to_string=True)
    if gdb.selected_inferior().pid and int(gdb.parse_and_eval("$pc")) in places:
        answer()
