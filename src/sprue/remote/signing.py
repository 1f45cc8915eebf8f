"""Who may write: ed25519 signatures over what is written. The key files are OpenSSL's.

openssl genpkey -algorithm ed25519 -out cache.key             for CI, which writes
openssl pkey -in cache.key -pubout -out cache.pub             for everyone, who reads
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sprue.errors import CheckError, SprueError
from sprue.trust.keys import PrivateKey, PublicKey, private_from_pem, public_from_pem, read_pem

DOMAIN = b"sprue remote cache 1\n"
"""Stands before what is signed, so that the signature is good for nothing else."""
VARIABLE = "SPRUE_REMOTE_CACHE_KEY"


@dataclass(frozen=True)
class Keys:
    """Without `public`, anything is believed; without `private`, nothing is signed."""

    public: PublicKey | None = None
    private: PrivateKey | None = None

    def sign(self, data: bytes) -> str:
        """The signature in hexadecimal; "" without a private key."""
        return "" if self.private is None else self.private.sign(DOMAIN + data).hex()

    def trusts(self, data: bytes, signature: str) -> bool:
        """Whether the signature is the key's; always, when there is none to hold it against."""
        if self.public is None:
            return True
        try:
            return self.public.made(bytes.fromhex(signature), DOMAIN + data)
        except ValueError:
            return False


def read_keys(text: str) -> Keys:
    """The key in a PEM file, or in `text` if that is PEM itself.

    Raises SprueError for what is none, and for a private key that others may read.
    """
    try:
        return _read_keys(text)
    except CheckError as error:  # here the key is what is asked with
        raise SprueError(error.what, where=error.where, remedy=error.remedy) from error


def _read_keys(text: str) -> Keys:
    inline = text.lstrip().startswith("-----BEGIN")
    name = VARIABLE if inline else text
    pem = text.encode() if inline else read_pem(Path(text))
    if b"PRIVATE KEY" not in pem:
        return Keys(public_from_pem(pem, name, name))
    pem = pem if inline else read_pem(Path(text), private=True)
    private = private_from_pem(pem, name, name)
    return Keys(private.public, private)
