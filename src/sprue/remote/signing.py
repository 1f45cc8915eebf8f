"""Who may write: ed25519 signatures over what is written. The key files are OpenSSL's.

openssl genpkey -algorithm ed25519 -out cache.key             for CI, which writes
openssl pkey -in cache.key -pubout -out cache.pub             for everyone, who reads
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sprue.errors import SprueError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DOMAIN = b"sprue remote cache 1\n"
"""Stands before what is signed, so that the signature is good for nothing else."""


@dataclass(frozen=True)
class Keys:
    """Without `public`, anything is believed; without `private`, nothing is signed."""

    public: Ed25519PublicKey | None = None
    private: Ed25519PrivateKey | None = None

    def sign(self, data: bytes) -> str:
        """The signature in hexadecimal; "" without a private key."""
        return "" if self.private is None else self.private.sign(DOMAIN + data).hex()

    def trusts(self, data: bytes, signature: str) -> bool:
        """Whether the signature is the key's; always, when there is none to hold it against."""
        if self.public is None:
            return True
        from cryptography.exceptions import InvalidSignature

        try:
            self.public.verify(bytes.fromhex(signature), DOMAIN + data)
        except (InvalidSignature, ValueError):
            return False
        return True


def read_keys(text: str) -> Keys:
    """The key in a PEM file, or in `text` if that is PEM itself. Raises SprueError."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ModuleNotFoundError as error:
        raise SprueError("cryptography is not installed", remedy="pip install 'sprue[signing]'") from error

    inline = text.lstrip().startswith("-----BEGIN")
    where = "SPRUE_REMOTE_CACHE_KEY" if inline else text
    try:
        pem = text.encode() if inline else Path(text).read_bytes()
        if b"PRIVATE KEY" in pem:
            private = load_pem_private_key(pem, None)
            if isinstance(private, ed25519.Ed25519PrivateKey):
                return Keys(private.public_key(), private)
        else:
            public = load_pem_public_key(pem)
            if isinstance(public, ed25519.Ed25519PublicKey):
                return Keys(public)
    except OSError as error:
        raise SprueError(f"cannot read the key: {error.strerror}", where=where) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SprueError(
            f"no key: {error}", where=where, remedy="an ed25519 key in PEM, unencrypted"
        ) from error
    raise SprueError(
        "no ed25519 key", where=where, remedy="openssl genpkey -algorithm ed25519 -out cache.key"
    )
