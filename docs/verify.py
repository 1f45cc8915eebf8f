#!/usr/bin/env python3
"""Verify a sprue bundle without sprue: python3 verify.py FOLDER [ID]

A second reader of docs/format.md that shares nothing with the first: standard library only, Python 3.8 on.
It proves that every byte is what the manifest says. What the fields mean (roles, metrics) is for sprue.
"""

import hashlib
import json
import os
import re
import sys
import unicodedata
from pathlib import Path

MANIFEST, SUMS, TIMES = OUTSIDE = "manifest.json", "SHA256SUMS", "evidence/measurements.json"
KEYS = "createdAt files licenses metrics name parents recipe schema source targets toolchain version"
FILE_KEYS = "mediaType path role sha256 size target"
WRONG = ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError


def need(holds, what):
    if not holds:
        raise ValueError(what)


def unique(pairs):
    need(len(dict(pairs)) == len(pairs), "a key stands twice")
    return dict(pairs)


def small(path, limit):
    need(path.stat().st_size <= limit, f"{path} is too large")
    return path.read_bytes()


def hashed(path):
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


def is_safe(path):
    named = all(p not in ("", "..") and p[0] != " " and p[-1] not in " ." for p in path.split("/"))
    return named and path.isprintable() and not set(path) & set('\\:*?"<>|') and len(path.encode()) <= 1024


def folded(path):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def read_manifest(data):
    made = json.loads(data, object_pairs_hook=unique)
    text = json.dumps(made, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    need(text.encode() == data, "the manifest is not in canonical form")
    need(" ".join(made) == KEYS and made["schema"] == "sprue-bundle/1", "not a sprue-bundle/1 manifest")
    for file in made["files"]:
        need(" ".join(file) == FILE_KEYS and is_safe(file["path"]), f"a wrong file: {str(file)[:200]}")
        need(type(file["size"]) is int and 0 <= file["size"] <= 2**40, f"{file['path']}: a wrong size")
        need(re.fullmatch("[0-9a-f]{64}", file["sha256"]), f"{file['path']}: a wrong sha256")
    paths, entries = [file["path"] for file in made["files"]], [t["entry"] for t in made["targets"]]
    names = {folded(path) for path in [*paths, *OUTSIDE]}
    above = {folded(str(folder)) for path in paths for folder in Path(path).parents}
    need(paths == sorted(paths) and len(paths) <= 100_000, "files not sorted, or too many")
    need(len(names) == len(paths) + 3 and not above & names, "two files of one name, or a file below a file")
    need(len({t["id"] for t in made["targets"]}) == len(entries) and {*entries} <= {*paths}, "a wrong target")
    return made["files"]


def found_in(folder, above=""):
    """Every file below, none of which may be a link or a device."""
    for entry in [*os.scandir(folder)]:
        if entry.is_dir(follow_symlinks=False):
            yield from found_in(entry.path, f"{above}{entry.name}/")
        else:
            need(entry.is_file(follow_symlinks=False), f"{entry.path} is not a plain file")
            yield above + entry.name


def verify(folder, expected=None):
    """The bundle's id. Raises one of WRONG for what is none."""
    folder = Path(folder)
    found = set(found_in(folder))
    data = small(folder / MANIFEST, 16 << 20)
    ident = hashlib.sha256(data).hexdigest()
    need(expected in (None, ident), f"its id is {ident}, not {expected}")
    files = read_manifest(data)
    sums = {MANIFEST: ident, **{file["path"]: file["sha256"] for file in files}}
    if TIMES in found:
        sums[TIMES] = hashed(folder / TIMES)
    wrong = sorted(found ^ {*sums, SUMS})
    need(not wrong, f"missing, or not in the manifest: {', '.join(wrong[:10])}")
    lines = "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode()
    need(small(folder / SUMS, 64 << 20) == lines, f"{SUMS} does not agree with the manifest")
    for file in files:
        path = folder / file["path"]
        is_so = path.stat().st_size == file["size"] and hashed(path) == file["sha256"]
        need(is_so, f"{file['path']} is damaged")
    return ident


if __name__ == "__main__":
    try:
        need(2 <= len(sys.argv) <= 3, "usage: verify.py FOLDER [ID]")
        print("verified", verify(*sys.argv[1:]))
    except WRONG as error:
        sys.exit(f"not verified: {error}")
