"""The int8 MLPerf Tiny models on every board: instructions of one inference, cycles, and bytes of RAM.

MLCommons' own int8 files, read as QDQ with their very scales, compiled by zig and executed by unicorn or, for
the Cortex-M55 and RISC-V's vectors, QEMU. Instructions are exact; one of vectors counts as one. Cycles are
estimated for the cores whose manuals say what an instruction costs (docs/embedded.md).

    python benchmarks/boards.py   needs the extra `embedded`, Debian's qemu-system-arm and qemu-system-misc

Aims: with MVE at most a third of the instructions of a Cortex-M4, whose outputs are the same; RISC-V at
most three quarters of what it took with the plain C kernels (ad01, all dense layers: seven eighths), and with
vectors an eighth of what it takes without.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a script: the models are found from the root
    sys.path[0] = str(ROOT)

from benchmarks.tiny import DATA, ours  # noqa: E402
from models.mlperf_tiny.import_tflite import ORIGINALS  # noqa: E402
from models.mlperf_tiny.rebuild import rebuild  # noqa: E402

BOARDS = (
    "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m55", "sifive-e31", "riscv32", "riscv32f", "riscv32v",
)  # fmt: skip
PLAIN = {
    "riscv32": (11_782_336, 32_886_306, 46_417_594, 1_072_398),
    "riscv32f": (10_364_162, 28_940_651, 44_675_851, 1_038_336),
}
"""Instructions before RISC-V had kernels of its own, on 2026-11-26."""
AIMS = (0.75, 0.75, 0.75, 0.875)


def main() -> int:
    print(f"{'':16}" + "".join(f"{name:>16}" for name in ORIGINALS))
    counted: dict[str, list[int]] = {}
    for board in BOARDS:
        profiles = [
            ours(rebuild((DATA / f"{o.int8_file}.tflite").read_bytes()), o, board) for o in ORIGINALS.values()
        ]
        counted[board] = [p.instructions or 0 for p in profiles]
        print(f"{board:16}" + "".join(f"{n:16,}" for n in counted[board]), flush=True)
        if all(p.cycles for p in profiles):
            print(f"{'  cycles (est.)':16}" + "".join(f"{p.cycles:16,}" for p in profiles), flush=True)
        print(f"{'  RAM':16}" + "".join(f"{p.ram or 0:16,}" for p in profiles), flush=True)
    kept = True
    for board, before in PLAIN.items():
        ratios = [now / plain for now, plain in zip(counted[board], before, strict=True)]
        print(f"{board + ' / plain C':16}" + "".join(f"{ratio:16.2f}" for ratio in ratios))
        kept &= all(ratio <= aim for ratio, aim in zip(ratios, AIMS, strict=True))
    for board, other, times in (("cortex-m55", "cortex-m4", 3), ("riscv32v", "riscv32", 8)):
        if not all(counted[board]):
            print(f"{board} did not run: QEMU is missing")
            return 1
        pairs = zip(counted[board], counted[other], strict=True)
        kept &= all(times * vectors <= plain for vectors, plain in pairs)
    print(f"aim {'reached' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
