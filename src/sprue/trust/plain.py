"""Reading a small file that somebody else may have put there: a plain one, and no more of it than wanted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sprue.errors import CheckError


def read_plain(path: Path, limit: int, *, follow_links: bool, private: bool = False) -> bytes:
    """All of a plain file of at most `limit` bytes. `private`: nobody but its owner may be able to read it.

    Mode and kind are asked of the file that was opened: its name could mean another one a moment later.
    Raises OSError when it cannot be opened, CheckError otherwise.
    """
    links = 0 if follow_links else os.O_NOFOLLOW
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | links)  # a pipe must not keep us waiting
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise CheckError("not a plain file", where=str(path))
        if private and mode & 0o077:
            raise CheckError(
                f"others may read this private key (mode {stat.S_IMODE(mode):04o})",
                where=str(path),
                remedy=f"chmod 600 {path}; and if others did read it, make a new one",
            )
        with os.fdopen(handle, "rb", closefd=False) as stream:
            data = stream.read(limit + 1)
    finally:
        os.close(handle)
    if len(data) > limit:
        raise CheckError(f"larger than {limit} bytes", where=str(path))
    return data
