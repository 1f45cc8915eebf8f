"""Signing keys: ed25519 in OpenSSL's PEM, NAME.key for who signs and NAME.pub for everyone.

A private key is read only from a plain file that no other user can read, and is never printed. The id of a
key is the sha256 of its public half in DER: `openssl pkey -pubin -in NAME.pub -outform DER | sha256sum`.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sprue.canonical import digest
from sprue.durable import naming, sync_folder
from sprue.errors import CheckError, SprueError, did_you_mean
from sprue.trust.plain import read_plain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PRIVATE, PUBLIC = ".key", ".pub"
MAX_KEY_BYTES = 16 * 2**10
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class PublicKey:
    """`name` is what people call it; `id` is what it is."""

    name: str
    id: str
    _key: Ed25519PublicKey = field(repr=False, compare=False)

    def made(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` (64 bytes; others are not) over `message` was made by this key."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    public: PublicKey
    _key: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """64 bytes, the same for the same message (RFC 8032)."""
        return self._key.sign(message)


@dataclass(frozen=True)
class Listed:
    """A key in a folder. `private`: "here", "not here", or "readable by others"."""

    public: PublicKey
    file: Path
    private: str


def keys_folder(folder: Path | None) -> Path:
    """The folder named, else $SPRUE_KEYS, else sprue/keys in the user's configuration."""
    named = os.environ.get("SPRUE_KEYS")
    if folder is not None or named:
        return folder or Path(str(named))
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "sprue" / "keys"


def new_key(name: str, folder: Path) -> Listed:
    """Make a pair of keys. Raises SprueError when there is one of this name: no key is ever replaced."""
    _need_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    if _NAME.fullmatch(name) is None:
        raise SprueError(
            f"'{name}' cannot be the name of a key", remedy="letters, digits, '.', '_', '-'; no folder"
        )
    made = Ed25519PrivateKey.generate()
    private = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for suffix in (PUBLIC, PRIVATE):
        if (folder / f"{name}{suffix}").exists():
            raise SprueError(
                "there is a key of this name",
                where=str(folder / f"{name}{suffix}"),
                remedy="take another name; whoever trusts the old key would not trust a new one",
            )
    _create(folder / f"{name}{PRIVATE}", private, 0o600)
    _create(folder / f"{name}{PUBLIC}", public, 0o444)
    file = folder / f"{name}{PUBLIC}"
    return Listed(read_public(file), file, "here")


def list_keys(folder: Path) -> list[Listed]:
    """The keys in `folder` by name. Raises SprueError for a file that holds no ed25519 key."""
    found = []
    for file in sorted(folder.glob(f"*{PUBLIC}")):
        private = file.with_suffix(PRIVATE)
        state = "not here"
        if private.exists():
            state = "readable by others" if private.stat().st_mode & 0o077 else "here"
        found.append(Listed(read_public(file), file, state))
    return found


def find_public(key: str, folder: Path) -> PublicKey:
    """`key` is the path of a file, or NAME or NAME.pub in `folder`. Raises SprueError, CheckError."""
    return read_public(_find(key, folder, PUBLIC))


def find_private(key: str, folder: Path) -> PrivateKey:
    """`key` is the path of a file, or NAME or NAME.key in `folder`. Raises SprueError, CheckError."""
    return read_private(_find(key, folder, PRIVATE))


def read_public(path: Path) -> PublicKey:
    """Raises SprueError when it cannot be read, CheckError when it is no ed25519 public key."""
    return public_from_pem(read_pem(path), path.name.removesuffix(PUBLIC), str(path))


def public_from_pem(pem: bytes, name: str, where: str) -> PublicKey:
    """Raises CheckError unless `pem` is an ed25519 public key."""
    _need_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in pem:
        raise CheckError("this is a private key", where=where, remedy=f"name its public half, NAME{PUBLIC}")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CheckError("not a public key in PEM", where=where) from error
    if not isinstance(key, Ed25519PublicKey):
        raise CheckError(f"not an ed25519 key but {type(key).__name__}", where=where)
    return _public(name, key)


def read_private(path: Path) -> PrivateKey:
    """Raises CheckError when others can read the file too, or when it is no ed25519 private key."""
    return private_from_pem(read_pem(path, private=True), path.name.removesuffix(PRIVATE), str(path))


def private_from_pem(pem: bytes, name: str, where: str) -> PrivateKey:
    """Raises CheckError unless `pem` is an ed25519 private key without a passphrase."""
    _need_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    # What the library says of a key that it cannot read may quote the key: it is not passed on.
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise CheckError("it needs a passphrase", where=where, remedy="openssl pkey decrypts it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CheckError("not a private key in PEM", where=where) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CheckError(f"not an ed25519 key but {type(key).__name__}", where=where)
    return PrivateKey(_public(name, key.public_key()), key)


def _public(name: str, key: Ed25519PublicKey) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(name, digest(der), key)


def _find(key: str, folder: Path, suffix: str) -> Path:
    if os.sep in key or Path(key).is_file():
        return Path(key)
    stem = key.removesuffix(suffix)
    path = folder / f"{stem}{suffix}"
    if _NAME.fullmatch(stem) is None or not path.exists():
        there = {p.name.removesuffix(suffix) for p in folder.glob(f"*{suffix}")}
        remedy = did_you_mean(stem, there, none=f"make it: sprue key new {stem}")
        raise SprueError(f"there is no key '{key}'", where=str(folder), remedy=remedy)
    return path


def read_pem(path: Path, *, private: bool = False) -> bytes:
    """A small plain file. `private`: nobody else may be able to read it. Raises SprueError, CheckError."""
    try:
        return read_plain(path, MAX_KEY_BYTES, follow_links=True, private=private)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        said = error.strerror if isinstance(error, OSError) else error
        raise SprueError(f"cannot read the key: {said}", where=str(path)) from error


def _create(path: Path, data: bytes, mode: int) -> None:
    """A whole new file or none; never in the place of another (link, unlike rename, does not replace)."""
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)  # mode 0600 from its first moment
    try:
        with naming(path), os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(handle)
            os.fchmod(handle, mode)
        Path(path).hardlink_to(name)
    except FileExistsError as error:
        raise SprueError("there is a key of this name", where=str(path)) from error
    finally:
        Path(name).unlink()
    sync_folder(path.parent)


def _need_library() -> None:
    """Raises SprueError when the library is not installed."""
    try:
        import cryptography  # noqa: F401  # only whether it is there
    except ModuleNotFoundError as error:
        raise SprueError("cryptography is not installed", remedy="pip install 'sprue[signing]'") from error
