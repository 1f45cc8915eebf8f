"""Signatures for OpenSSF model-signing, verified by its own program."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from sprue.bundle.check import check_bundle
from sprue.errors import CheckError, SprueError
from sprue.trust.openssf import sign_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("model_signing") is None, reason="sprue[openssf] is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]

Freeze = Callable[..., Path]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "ec.key"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path))
    openssl("ec", "-in", str(path), "-pubout", "-out", str(tmp_path / "ec.pub"))
    path.chmod(0o600)
    return path


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


def verify(folder: Path, signature: Path, public: Path) -> bool:
    command = [sys.executable, "-m", "model_signing", "verify", "key", "--signature", str(signature)]
    done = subprocess.run(
        [*command, "--public_key", str(public), str(folder)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def test_its_own_program_verifies_it_and_finds_any_change(tmp_path: Path, fill: Freeze, key: Path) -> None:
    bundle = fill(tmp_path / "bundle", {"model/.gitattributes": b"x"})
    ident = check_bundle(bundle).id
    signature = sign_model(bundle, key)
    assert signature == tmp_path / "bundle.model.sig"
    assert check_bundle(bundle).id == ident
    assert verify(bundle, signature, tmp_path / "ec.pub")
    for path in ("model/.gitattributes", "targets/phone/artifact/model.tflite"):
        data = (bundle / path).read_bytes()
        (bundle / path).write_bytes(data + b"!")
        assert not verify(bundle, signature, tmp_path / "ec.pub"), path
        (bundle / path).write_bytes(data)
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(tmp_path / "other.key"))
    openssl("ec", "-in", str(tmp_path / "other.key"), "-pubout", "-out", str(tmp_path / "other.pub"))
    assert not verify(bundle, signature, tmp_path / "other.pub")


def test_what_cannot_sign_is_refused_and_leaves_nothing(tmp_path: Path, bundle: Path, key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(CheckError, match="others may read this private key"):
        sign_model(bundle, key)
    wrong = tmp_path / "ed.key"
    openssl("genpkey", "-algorithm", "ed25519", "-out", str(wrong))
    wrong.chmod(0o600)
    with pytest.raises(CheckError, match="not an elliptic curve key"):
        sign_model(bundle, wrong)
    with pytest.raises(SprueError, match="cannot read the key"):
        sign_model(bundle, tmp_path / "absent")
    key.chmod(0o600)
    (bundle / "model" / "model.onnx").write_bytes(b"another")
    with pytest.raises(CheckError, match="is damaged"):
        sign_model(bundle, key)
    assert list(tmp_path.glob("*.sig")) == []
