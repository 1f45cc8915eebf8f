"""Tiny real actions, imported by the engine's workers. Each says that it ran by a line in `params["ran"]`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sprue.errors import CheckError, SprueError

Inputs = Mapping[str, Path]
Params = Mapping[str, Any]


def join(inputs: Inputs, params: Params, out: Path) -> None:
    """The inputs' bytes one after the other, and `text`."""
    _say(params)
    (out / "joined").write_bytes(b"".join(p.read_bytes() for p in inputs.values()) + params["text"].encode())


def loaded(inputs: Inputs, params: Params, out: Path) -> None:
    """Which of the named modules this process had imported before, one a line."""
    (out / "loaded").write_text("\n".join(name for name in params["modules"] if name in sys.modules))


def length(inputs: Inputs, params: Params, out: Path) -> None:
    """Different inputs of one length give the same output."""
    _say(params)
    (out / "length").write_text(str(sum(p.stat().st_size for p in inputs.values())))


def tree(inputs: Inputs, params: Params, out: Path) -> None:
    """The relative paths below the input folder."""
    _say(params)
    folder = inputs["folder"]
    (out / "tree").write_text("\n".join(sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))))


def name(inputs: Inputs, params: Params, out: Path) -> None:
    (out / "name").write_text(inputs["file"].name)


def many(inputs: Inputs, params: Params, out: Path) -> None:
    """Files of some sizes in folders, an empty one among them; takes `seconds`."""
    for i in range(5):
        (out / f"{i}").mkdir()
        (out / f"{i}" / "data").write_bytes(bytes([i]) * i * params.get("size", 1000))
    time.sleep(params.get("seconds", 0.0))


def nothing(inputs: Inputs, params: Params, out: Path) -> None:
    """The null action, for measuring the engine."""


def sleep(inputs: Inputs, params: Params, out: Path) -> None:
    """Notes when it began and ended."""
    began = time.monotonic()
    time.sleep(params["seconds"])
    (out / "span").write_text(f"{began} {time.monotonic()}")


def meet(inputs: Inputs, params: Params, out: Path) -> None:
    """Waits for another action that does the same."""
    Path(params["mine"]).touch()
    until = time.monotonic() + 50
    while not Path(params["other"]).exists():
        if time.monotonic() > until:
            raise TimeoutError("the other never began")
        time.sleep(0.01)


def fail(inputs: Inputs, params: Params, out: Path) -> None:
    """Prints, then ends in the way that `how` names."""
    _say(params)
    print("about to fail", flush=True)
    (out / "half").write_text("half of it")
    match params["how"]:
        case "sprue":
            raise SprueError("the file is wrong", where="x.toml", remedy="put it right")
        case "check":
            raise CheckError("too slow")
        case "exception":
            raise KeyError("no such thing")
        case "memory":
            raise MemoryError
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)
        case "segfault":
            ctypes.string_at(0)
        case "hang":
            time.sleep(600)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "fork-and-die":
            if os.fork() == 0:
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        case "close-stdout":
            os.close(1)
            os.close(2)
            raise KeyError("with nothing to print to")
        case "unserialisable":
            raise SprueError("\udcff is no character")


def spawn(inputs: Inputs, params: Params, out: Path) -> None:
    """Starts a child, writes its process number to `params["pid"]`, and hangs."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    written = Path(params["pid"] + ".new")
    written.write_text(str(child.pid))
    written.replace(params["pid"])
    time.sleep(600)


def noise(inputs: Inputs, params: Params, out: Path) -> None:
    """Prints in every way there is, what looks like an answer of the protocol too."""
    answer = '{"ok": false, "what": "no", "where": "", "remedy": "", "bug": "", "refused": false}\n'
    print(answer)
    os.write(1, answer.encode())
    sys.__stdout__.write(answer)  # type: ignore[union-attr]  # there is one here
    ctypes.CDLL(None).printf(b"%s", answer.encode())
    subprocess.run(["echo", answer], check=True)
    subprocess.run(["sh", "-c", "ls -l /proc/self/fd; cat"], check=True)
    (out / "said").write_text("enough")


def fork_and_return(inputs: Inputs, params: Params, out: Path) -> None:
    """Both parent and child come back into the worker. Only one writes: two would race for the file."""
    (out / "made-by-x").write_text("something")
    os.fork()


def wander(inputs: Inputs, params: Params, out: Path) -> None:
    """Leaves the current folder, and litter in it."""
    Path("litter").write_text("x")
    (out / "was").write_text(str(Path.cwd()))
    os.chdir("/")


def litter(inputs: Inputs, params: Params, out: Path) -> None:
    """Leaves files and folders wherever it can, and prints."""
    for place in (out.parent, out.parent / "inputs", out.parent / "inputs" / "other", out / "sub"):
        place.mkdir(exist_ok=True)
        (place / "litter").write_text("x")
    (out.parent / "link").symlink_to("/etc/passwd")
    (out / "empty").mkdir()
    print("said by the one before")


def look_around(inputs: Inputs, params: Params, out: Path) -> None:
    """What lies in the work folder."""
    found = sorted(str(p.relative_to(out.parent)) for p in out.parent.rglob("*"))
    (out / "seen").write_text("\n".join(found))


def linger(inputs: Inputs, params: Params, out: Path) -> None:
    """Leaves a child behind that goes on writing where the output was."""
    (out / "made").write_text("made")
    write = f"while :; do echo x > {out}/late; sleep 0.02; done"
    subprocess.Popen(["sh", "-c", write], stderr=subprocess.DEVNULL)


def odd(inputs: Inputs, params: Params, out: Path) -> None:
    """An output of the kind `what`."""
    match params["what"]:
        case "link":
            (out / "link").symlink_to("/etc/passwd")
        case "folder link":
            (out / "link").symlink_to("/etc")
        case "dangling link":
            (out / "link").symlink_to("nowhere")
        case "fifo":
            os.mkfifo(out / "fifo")
        case "name":
            Path(os.fsdecode(os.fsencode(out) + b"/\xff")).write_text("x")


def hard_link(inputs: Inputs, params: Params, out: Path) -> None:
    """An output that is another name of a file outside."""
    (out / "linked").hardlink_to(params["file"])


def spoil(inputs: Inputs, params: Params, out: Path) -> None:
    """Overwrites its input."""
    inputs["file"].write_text("spoilt")
    (out / "done").write_text("done")


def fill(inputs: Inputs, params: Params, out: Path) -> None:
    (out / "large").write_bytes(os.urandom(params["bytes"]))


def _say(params: Params) -> None:
    if "ran" in params:
        with Path(params["ran"]).open("a") as stream:
            stream.write("x\n")
