"""An archive of a bundle: the same bytes anywhere, which tar, sh and sha256sum can do without us."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.bundle.archive import export_bundle
from sprue.bundle.check import check_bundle
from sprue.bundle.manifest import MEASUREMENTS
from sprue.canonical import digest
from sprue.errors import CheckError

Freeze = Callable[..., Path]

EXPORT = """
import sys
from pathlib import Path
from sprue.bundle.archive import epoch, export_bundle
export_bundle(Path(sys.argv[1]), sys.stdout.buffer, epoch())
"""
NAMES = ("größe.bin", "a b", "$(touch x)", "-n", "#", "'q", "l" * 120, "`id`", "😀" * 30)


def archive(folder: Path, seconds: int = 0) -> bytes:
    out = io.BytesIO()
    export_bundle(folder, out, seconds)
    return out.getvalue()


@pytest.fixture
def odd(tmp_path: Path, fill: Freeze) -> Path:
    """A bundle whose files have names that a careless script trips over, and more than one buffer."""
    return fill(tmp_path / "odd", {f"model/{n}": n.encode() for n in NAMES} | {"data/big": bytes(9 << 20)})


@pytest.fixture
def unpacked(odd: Path, tmp_path: Path) -> Path:
    """The top folder of the archive of `odd`, unpacked by tar."""
    place = tmp_path / "un packed"
    place.mkdir()
    subprocess.run(["tar", "x"], input=archive(odd), cwd=place, check=True)
    return next(place.iterdir())


def install(unpacked: Path, *arguments: str, shell: str = "sh") -> subprocess.CompletedProcess[str]:
    command = [
        *(["busybox", "sh"] if shell == "busybox" else [shell]),
        str(unpacked / "install.sh"),
        *arguments,
    ]
    return subprocess.run(command, cwd=unpacked.parents[1], capture_output=True, text=True, check=False)


def test_two_processes_write_the_same_bytes(tmp_path: Path, fill: Freeze) -> None:
    written = set()
    for place, zone in (("one", "UTC"), ("below/two", "Asia/Tokyo")):
        folder = fill(tmp_path / place, {"model/ü": b"x"})
        os.utime(folder / "model" / "ü", (1, len(place)))
        (folder / "model" / "ü").chmod(0o600)
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": str(len(place))}
        done = subprocess.run(
            [sys.executable, "-c", EXPORT, folder], capture_output=True, check=True, env=environment
        )
        written.add(done.stdout)
    assert len(written) == 1


def test_the_bytes_are_those_of_the_format(bundle: Path) -> None:
    """Archives are to be equal for years, with any Python: this digest may change only with the format."""
    assert digest(archive(bundle)) == "97de9e65c7d8e6891b3b593240eeb7163265775ebc1c3b61be263c11db6110c8"


def test_the_time_is_source_date_epoch(bundle: Path) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "86400"}
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, bundle], capture_output=True, check=True, env=environment
    )
    assert done.stdout == archive(bundle, 86400)
    assert archive(bundle, 86400) != archive(bundle)


def test_tar_reads_it_and_finds_fixed_modes_owners_and_times(odd: Path) -> None:
    command = ["tar", "tv", "--numeric-owner", "--quoting-style=literal", "--full-time"]
    done = subprocess.run(
        command, input=archive(odd), capture_output=True, check=True, env={**os.environ, "TZ": "UTC"}
    )
    lines = done.stdout.decode().splitlines()
    assert done.stderr == b""
    assert len(lines) == 10 + len(NAMES)
    for line in lines:
        mode = "-rwxr-xr-x" if line.endswith("/install.sh") else "-rw-r--r--"
        assert line.startswith(f"{mode} 0/0 ")
        assert " 1970-01-01 00:00:00 " in line
    names = [line.split(maxsplit=5)[5].partition("/")[2] for line in lines]
    assert names[:3] == ["bundle/manifest.json", "bundle/SHA256SUMS", "install.sh"]
    assert names[3:] == sorted(names[3:])
    assert set(names) == {f"bundle/{p.relative_to(odd)}" for p in odd.rglob("*") if p.is_file()} | {
        "install.sh"
    }


def test_what_tar_unpacks_sha256sum_accepts(unpacked: Path, odd: Path) -> None:
    subprocess.run(
        ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=unpacked / "bundle", check=True
    )
    assert check_bundle(unpacked / "bundle").id == check_bundle(odd).id


@pytest.mark.parametrize("shell", [s for s in ("dash", "bash", "busybox", "sh") if shutil.which(s)])
def test_install_puts_the_bundle_in_its_place(unpacked: Path, odd: Path, shell: str) -> None:
    ident = check_bundle(odd).id
    done = install(unpacked, "new place/", ident, shell=shell)
    assert done.returncode == 0, done.stderr
    place = unpacked.parents[1] / "new place"
    assert check_bundle(place).id == ident
    assert f"id {ident}" in done.stdout
    assert sorted(p.name for p in unpacked.parents[1].iterdir()) == ["new place", "odd", "un packed"]


@pytest.mark.parametrize(
    "how",
    [
        "flip",
        "shorter",
        "longer",
        "missing",
        "extra",
        "hidden",
        "link",
        "fifo",
        "sums line",
        "sums",
        "manifest",
    ],
)
def test_install_of_a_changed_bundle_fails_and_installs_nothing(unpacked: Path, how: str) -> None:
    bundle = unpacked / "bundle"
    path = bundle / {"sums line": "SHA256SUMS", "sums": "SHA256SUMS", "manifest": "manifest.json"}.get(
        how, "model/a b"
    )
    good = path.read_bytes()
    if how in ("extra", "hidden"):
        (bundle / {"extra": "model/extra", "hidden": ".hidden"}[how]).write_text("x")
    elif how in ("link", "fifo", "missing"):
        path.unlink()
        if how == "link":
            (bundle / "same").write_bytes(good)
            path.symlink_to(unpacked / "install.sh")
        elif how == "fifo":
            os.mkfifo(path)
    else:
        changed = {
            "flip": bytes([good[0] ^ 1]) + good[1:],
            "shorter": good[:-1],
            "longer": good + b"x",
            "sums line": good.partition(b"\n")[2],
        }
        path.write_bytes(changed.get(how, good + b"\n"))
    done = install(unpacked, "place")
    assert done.returncode == 1, done.stdout
    assert "nothing was installed" in done.stderr
    assert sorted(p.name for p in unpacked.parents[1].iterdir()) == ["odd", "un packed"]


def test_install_of_a_file_and_its_sum_changed_together_fails(unpacked: Path) -> None:
    bundle = unpacked / "bundle"
    (bundle / "model" / "a b").write_bytes(b"other")
    text = (bundle / "SHA256SUMS").read_text().replace(digest(b"a b"), digest(b"other"))
    (bundle / "SHA256SUMS").write_text(text)
    assert install(unpacked, "place").returncode == 1
    assert not (unpacked.parents[1] / "place").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "usage"),
        ([""], 2, "usage"),
        (["a", "b", "c"], 2, "usage"),
        (["place", "0" * 64], 1, f"not {'0' * 64}"),
        (["odd"], 1, "is there already"),
    ],
)
def test_install_refuses_what_makes_no_sense(
    unpacked: Path, arguments: list[str], code: int, words: str
) -> None:
    done = install(unpacked, *arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert sorted(p.name for p in unpacked.parents[1].iterdir()) == ["odd", "un packed"]


@pytest.mark.parametrize("how", ["flip", "shorter", "longer", "missing", "link", "fifo", "sums"])
def test_a_damaged_bundle_is_not_exported(bundle: Path, how: str) -> None:
    path = bundle / ("SHA256SUMS" if how == "sums" else "model/model.onnx")
    good = path.read_bytes()
    path.unlink()
    if how == "link":
        path.symlink_to(bundle / "data" / "evaluation.npz")
    elif how == "fifo":
        os.mkfifo(path)
    elif how != "missing":
        path.write_bytes({"flip": good[:-1] + b"\n", "shorter": good[:-1]}.get(how, good + b"x"))
    with pytest.raises(CheckError):
        archive(bundle)


def test_a_bundle_without_measurements_can_be_exported(tmp_path: Path, fill: Freeze) -> None:
    folder = fill(tmp_path / "b")
    (folder / MEASUREMENTS).unlink()
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(line for line in lines if MEASUREMENTS not in line))
    check_bundle(folder)
    assert MEASUREMENTS.encode() not in archive(folder)
