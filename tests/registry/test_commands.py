"""`sprue publish` and `sprue pull`, as a user types them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sprue.bundle.store import Store

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def published(sprue_here: Run, bundle: Path, tmp_path: Path) -> str:
    url = str(tmp_path / "share" / "tiny")
    (tmp_path / "share").mkdir()
    done = sprue_here("publish", str(bundle), url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"published {url}:1.0.0 (tiny, 6 files, ")
    return url


def test_a_bundle_is_published_once_and_pulled_into_the_store(
    sprue_here: Run, published: str, bundle: Path, tmp_path: Path
) -> None:
    assert sprue_here("publish", str(bundle), published).stdout.startswith("already there: ")
    store = tmp_path / "store"
    done = sprue_here("pull", f"{published}:1.0.0", "--store", str(store), "--json")
    said = json.loads(done.stdout)
    assert (said["what"], said["new"], said["whole"]) == ("tiny@1.0.0", True, True)
    assert [s.reference for s in Store(store).bundles()] == ["tiny@1.0.0"]
    again = sprue_here("pull", f"{published}@{said['digest']}", "--store", str(store))
    assert again.stdout.startswith("already there: tiny@1.0.0")


def test_only_what_is_asked_for_is_pulled(sprue_here: Run, published: str, project: Path) -> None:
    done = sprue_here("pull", f"{published}:1.0.0", "--target", "phone", "--role", "artifact")
    assert done.stdout.startswith("pulled 1 of 6 files of tiny-1.0.0"), done.stderr
    assert (project / "tiny-1.0.0-phone" / "targets/phone/artifact/model.tflite").exists()
    again = sprue_here("pull", f"{published}:1.0.0", "--target", "phone", "--role", "artifact")
    assert again.stdout.startswith("already there: 1 of 6 files"), again.stderr
    other = sprue_here("pull", f"{published}:1.0.0", "--target", "phone")
    assert (other.returncode, "it exists already" in other.stderr) == (2, True)
    (project / "tiny-1.0.0-phone" / "targets/phone/artifact/model.tflite").chmod(0o644)
    (project / "tiny-1.0.0-phone" / "targets/phone/artifact/model.tflite").write_bytes(b"changed")
    changed = sprue_here("pull", f"{published}:1.0.0", "--target", "phone", "--role", "artifact")
    assert (changed.returncode, "it exists already" in changed.stderr) == (2, True)


def test_what_suits_a_machine_is_pulled(
    sprue_here: Run, published: str, project: Path, tmp_path: Path
) -> None:
    phone: dict[str, Any] = {
        "os": "android",
        "arch": "aarch64",
        "features": None,
        "runtime": {},
        "engine": {},
    }
    (tmp_path / "machine.json").write_text(json.dumps(phone))
    machine = ["--machine", str(tmp_path / "machine.json")]
    done = sprue_here("pull", f"{published}:1.0.0", *machine)
    assert done.returncode == 0, done.stderr
    assert "phone suits the machine best" in done.stderr
    assert "not server: it is for os linux, this is android; it is for arch x86_64" in done.stderr
    assert (project / "tiny-1.0.0-phone" / "targets/phone/artifact/model.tflite").exists()
    assert not (project / "tiny-1.0.0-phone" / "targets/server").exists()
    nothing = sprue_here("pull", f"{published}:1.0.0", *machine, "--family", "server", "--out", "x")
    assert nothing.returncode == 1
    assert "no artifact suits this machine" in nothing.stderr
    assert not (project / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["pull", "{url}"], 2, ["no version", ":VERSION"]),
        (["pull", "{url}:9.9.9"], 1, ["there is no version '9.9.9'"]),
        (["pull", "{url}:1.0.0", "--target", "fone"], 2, ["no target 'fone'", "did you mean 'phone'?"]),
        (["pull", "{url}:1.0.0", "--role", "modle"], 2, ["no role 'modle'", "did you mean 'model'?"]),
        (["pull", "{url}:1.0.0", "--out", "x"], 2, ["--out is for a part"]),
        (["pull", "{url}:1.0.0", "--require-signature"], 2, ["nothing says whose signature counts"]),
        (["pull", "ftp://host/x:1.0.0"], 2, ["nothing can be published to 'ftp:'", "oci://"]),
        (["publish", "absent@1.0.0", "{url}"], 2, ["absent"]),
    ],
)
def test_a_mistake_is_said_with_its_remedy(
    sprue_here: Run, published: str, arguments: list[str], code: int, words: list[str]
) -> None:
    done = sprue_here(*(a.format(url=published) for a in arguments))
    assert done.returncode == code
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
