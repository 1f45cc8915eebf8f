"""Load and run damaged copies of an artifact; run as a process of its own, for it may crash or hang.

Arguments: backend, target id, precision, artifact folder, scratch folder, samples.npz. Prints one line for
each damage, `<file> <damage> <outcome>`, the first two before the attempt, so that a crash names its cause.
The outcome is `refused` (a SprueError), `ran`, or the name of an exception that is no SprueError.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

from sprue.backend import Variant, find
from sprue.errors import SprueError
from sprue.target import load_target


def damages(data: bytes) -> dict[str, bytes]:
    flipped = bytearray(data)
    for position in range(0, len(data), max(1, len(data) // 7)):
        flipped[position] ^= 0xFF
    return {"emptied": b"", "halved": data[: len(data) // 2], "flipped": bytes(flipped)}


def attempt() -> str:
    try:
        backend.load(folder, variant).run(inputs)
    except SprueError:
        return "refused"
    except Exception as error:
        return type(error).__name__
    return "ran"


name, target, precision, artifact, scratch, samples = sys.argv[1:]
backend = find(name)
variant = Variant(load_target(target), name, precision)  # type: ignore[arg-type]  # the caller's is valid
with np.load(samples, allow_pickle=False) as archive:
    inputs = {key: archive[key][:2] for key in archive}
for file in sorted(p for p in Path(artifact).rglob("*") if p.is_file()):
    relative = file.relative_to(artifact)
    for kind, data in damages(file.read_bytes()).items():
        folder = Path(scratch) / "copy"
        shutil.copytree(artifact, folder)
        (folder / relative).chmod(0o644)
        (folder / relative).write_bytes(data)
        print(relative, kind, end=" ", flush=True)
        print(attempt(), flush=True)
        shutil.rmtree(folder)
