"""Installing one target's artifact: its folder, with contract and loader, proven while it is copied."""

from __future__ import annotations

import os
from pathlib import Path

from sprue.bundle.check import read_bundle_manifest
from sprue.bundle.hashing import Pump, open_plain
from sprue.bundle.manifest import MAX_FILE_BYTES, File
from sprue.durable import owned_folder, sync_folder, sync_tree
from sprue.errors import CheckError, SprueError, did_you_mean, refused

STAGING = ".installing-"


def install_target(bundle: Path, target: str, out: Path) -> list[File]:
    """Copy targets/<target>/ of the bundle in `bundle` to the new folder `out`; what was copied.

    Raises SprueError for an unknown target or a folder that is there, CheckError for a damaged file.
    """
    manifest = read_bundle_manifest(bundle)
    if target not in {t.id for t in manifest.targets}:
        known = [t.id for t in manifest.targets]
        raise SprueError(f"no target '{target}'", where=str(bundle), remedy=did_you_mean(target, known))
    if os.path.lexists(out):
        raise SprueError("it exists already", where=str(out), remedy="name a folder that is to be made")
    files = [f for f in manifest.files if f.target == target]
    out = out.absolute()
    try:
        with owned_folder(out.parent, STAGING) as folder:
            _copy(bundle, files, folder / "new", f"targets/{target}/")
            sync_tree(folder / "new")
            (folder / "new").rename(out)
            sync_folder(out.parent)
    except OSError as error:
        raise refused("cannot install it", error, out) from error
    return files


def _copy(bundle: Path, files: list[File], place: Path, prefix: str) -> None:
    with Pump() as pump:
        copied = []
        for file in files:
            path = place / file.path.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                stream = open_plain(bundle / file.path)
            except OSError as error:
                raise CheckError(
                    f"{file.path} cannot be read ({error.strerror})", where=str(bundle)
                ) from error
            with stream, path.open("xb") as sink:
                copied.append((file, pump.copy(stream.readinto, sink.write, MAX_FILE_BYTES)))
        for file, made in copied:
            if (made.size, made.sha256.result()) != (file.size, file.sha256):
                raise CheckError(
                    f"{file.path} is damaged",
                    where=str(bundle),
                    remedy="build it again, or fetch it again from where it was published",
                )
