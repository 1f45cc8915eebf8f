"""Key files: the private half is its owner's alone, and what is no ed25519 key is refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sprue.errors import CheckError, SprueError
from sprue.trust.keys import find_public, keys_folder, list_keys, new_key, read_private, read_public

pytest.importorskip("cryptography", reason="needs cryptography (the extra `signing`)")


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=30)


def test_a_private_key_is_its_owner_s_alone_and_never_replaced(tmp_path: Path) -> None:
    made = new_key("ci", tmp_path / "k")
    private = tmp_path / "k" / "ci.key"
    assert private.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o700
    before = private.read_bytes()
    with pytest.raises(SprueError, match="there is a key of this name"):
        new_key("ci", tmp_path / "k")
    assert private.read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "k").iterdir()) == ["ci.key", "ci.pub"]
    assert list_keys(tmp_path / "k") == [made]
    assert repr(read_private(private)).count("=") == 3, "only the public half's name and id are shown"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o660, 0o777])
def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    new_key("ci", tmp_path)
    (tmp_path / "ci.key").chmod(mode)
    with pytest.raises(CheckError, match="others may read") as caught:
        read_private(tmp_path / "ci.key")
    assert "chmod 600" in caught.value.remedy
    assert list_keys(tmp_path)[0].private == "readable by others"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "a\n", "x" * 200])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SprueError, match="cannot be the name of a key"):
        new_key(name, tmp_path / "k")
    assert not (tmp_path / "k").exists()


@pytest.mark.parametrize("algorithm", ["ed448", "x25519", "RSA", "EC"])
def test_a_key_of_another_algorithm_is_refused(tmp_path: Path, algorithm: str) -> None:
    options = {"EC": ["-pkeyopt", "ec_paramgen_curve:P-256"]}.get(algorithm, [])
    pem, public = tmp_path / "o.key", tmp_path / "o.pub"
    assert openssl("genpkey", "-algorithm", algorithm, *options, "-out", pem).returncode == 0
    pem.chmod(0o600)
    assert openssl("pkey", "-in", pem, "-pubout", "-out", public).returncode == 0
    for read in (lambda: read_private(pem), lambda: read_public(public)):
        with pytest.raises(CheckError, match="not an ed25519 key"):
            read()


def test_what_is_no_key_is_refused_and_not_quoted(tmp_path: Path) -> None:
    new_key("ci", tmp_path)
    good = (tmp_path / "ci.key").read_bytes()
    secret = good.splitlines()[1].decode()
    bad = [b"", good[:60], good[:-40], good.replace(b"PRIVATE", b"PUBLIC"), good[::-1], b"\xff" * 100]
    bad += [b"x" * (100 * 2**20), good + b"\n" * 20_000, good.replace(b"MC4C", b"MC4D")]
    for data in bad:
        for path, read in ((tmp_path / "x.key", read_private), (tmp_path / "x.pub", read_public)):
            path.write_bytes(data)
            path.chmod(0o600)
            with pytest.raises(CheckError) as caught:
                read(path)
            assert secret not in str(caught.value)
    with pytest.raises(CheckError, match="this is a private key"):
        read_public(tmp_path / "ci.key")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for odd in (tmp_path / "pipe", tmp_path):
        with pytest.raises(SprueError):
            read_private(odd)


def test_a_key_with_a_passphrase_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "o.key"
    openssl("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x", "-out", path)
    path.chmod(0o600)
    with pytest.raises(CheckError, match="passphrase"):
        read_private(path)


def test_a_key_is_found_by_name_and_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRUE_KEYS", str(tmp_path / "k"))
    made = new_key("ci", keys_folder(None)).public
    for name in ("ci", "ci.pub", str(tmp_path / "k" / "ci.pub")):
        assert find_public(name, keys_folder(None)) == made
    with pytest.raises(SprueError, match="there is no key 'cii'") as caught:
        find_public("cii", keys_folder(None))
    assert "did you mean 'ci'?" in caught.value.remedy
