"""The signature files beside a bundle: how they are called, and how they travel with it. What they say is for
`sprue.trust`; here they are small files that are named by their content.

<folder>.<16 digits>.intoto.jsonl      the digits begin the sha256 of its content, without the final newline
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from sprue.bundle.hashing import open_plain
from sprue.canonical import digest
from sprue.durable import write_file
from sprue.errors import CheckError

SIGNATURE = ".intoto.jsonl"
MAX_SIGNATURE_BYTES = 4 * 2**20 + 1
MAX_SIGNATURES = 1000


def signature_files(folder: Path) -> list[Path]:
    """Every file beside the bundle in `folder` that is named as a signature of it. Raises CheckError."""
    folder = folder.resolve()
    named = re.compile(re.escape(folder.name) + r"\.[^/]*" + re.escape(SIGNATURE))
    found = sorted(path for path in folder.parent.iterdir() if named.fullmatch(path.name))
    if len(found) > MAX_SIGNATURES:
        raise CheckError(f"more than {MAX_SIGNATURES} signatures lie beside it", where=str(folder))
    return found


def read_signatures(folder: Path) -> dict[str, bytes]:
    """What lies beside the bundle, by the 16 digits. Raises CheckError for what cannot travel."""
    found = {}
    for path in signature_files(folder):
        try:
            with open_plain(path) as stream:
                data = stream.read(MAX_SIGNATURE_BYTES + 1) or b""
        except OSError as error:
            raise CheckError(f"cannot read it: {error.strerror}", where=str(path)) from error
        if not 0 < len(data) <= MAX_SIGNATURE_BYTES:
            raise CheckError(
                f"no signature: it is empty, or over {MAX_SIGNATURE_BYTES} bytes", where=str(path)
            )
        found[digits(data)] = data
    return dict(sorted(found.items()))


def digits(content: bytes) -> str:
    return digest(content.removesuffix(b"\n"))[:16]


def copy_signatures(files: Iterable[Path], bundle: Path) -> None:
    """Put signature files that were read elsewhere beside `bundle`, durably; those that are there stay."""
    for path in files:
        data = path.read_bytes()
        beside = bundle.with_name(f"{bundle.name}.{digits(data)}{SIGNATURE}")
        if not os.path.lexists(beside):
            write_file(beside, data)
