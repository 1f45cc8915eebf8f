"""DSSE 1.0.2: an envelope is a payload, its type, and signatures over both.

https://github.com/secure-systems-lab/dsse. The signed bytes are PAE(type, payload), so a payload cannot be
taken for one of another type. A `keyid` is not signed: here it is never a reason to believe a signature.

Own code, on `cryptography`: the encoding is one line. securesystemslib's `Envelope` (1.6) demands the keyid
that DSSE leaves optional, looks only at signatures whose keyid is the key's (its issue 416), empties the
dictionary that it reads, and leaves limits to its caller. The tests hold this file against it, and against
openssl.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sprue.canonical import canonical, parse
from sprue.errors import CheckError
from sprue.trust.keys import PrivateKey, PublicKey
from sprue.trust.plain import read_plain

MAX_ENVELOPE_BYTES = 4 * 2**20
MAX_SIGNATURES = 100


@dataclass(frozen=True)
class Envelope:
    """`signatures`: what each says of its key, and the signature."""

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-Authentication Encoding (DSSE, protocol.md): lengths in bytes, in decimal."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, key: PrivateKey) -> bytes:
    """An envelope in canonical JSON; the same input gives the same bytes."""
    signature = key.sign(pae(payload_type, payload))
    return canonical(
        {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": key.public.id, "sig": base64.b64encode(signature).decode()}],
        }
    )


class _Form(BaseModel):
    # "Consumers MUST ignore unrecognized fields" (DSSE, envelope.md).
    model_config = ConfigDict(extra="ignore", strict=True)


class _SignatureForm(_Form):
    keyid: str | None = ""
    sig: str


class _EnvelopeForm(_Form):
    payload: str
    payloadType: str  # noqa: N815  # the format's own spelling
    signatures: Annotated[list[_SignatureForm], Field(min_length=1, max_length=MAX_SIGNATURES)]


def read_envelope_file(path: Path) -> Envelope:
    """Raises CheckError for all but a plain file of at most 4 MiB that holds an envelope."""
    try:
        data = read_plain(path, MAX_ENVELOPE_BYTES, follow_links=False)
    except OSError as error:
        raise CheckError(f"cannot read it: {error.strerror}", where=str(path)) from error
    return read_envelope(data, str(path))


def read_envelope(data: bytes, where: str) -> Envelope:
    """Read an untrusted envelope; nothing in it is verified yet. Raises CheckError."""
    if len(data) > MAX_ENVELOPE_BYTES:
        raise CheckError(f"the envelope is larger than {MAX_ENVELOPE_BYTES} bytes", where=where)
    try:
        form = _EnvelopeForm.model_validate(parse(data))
        form.payloadType.encode()
        signatures = tuple((s.keyid or "", _decode(s.sig)) for s in form.signatures)
        return Envelope(form.payloadType, _decode(form.payload), signatures)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        raise CheckError(f"not a DSSE envelope: {key}: {first['msg']}", where=where) from error
    except (ValueError, RecursionError) as error:
        raise CheckError(f"not a DSSE envelope: {error}", where=where) from error


def signers(envelope: Envelope, keys: Iterable[PublicKey], where: str) -> list[PublicKey]:
    """Those of `keys` that signed it, whatever its keyids say.

    Raises CheckError when a signature names one of `keys` and is not its: then the envelope was changed,
    which is worth more than silence.
    """
    known = list(keys)
    message = pae(envelope.payload_type, envelope.payload)
    found: dict[str, PublicKey] = {}
    for keyid, signature in envelope.signatures:
        made = [key for key in known if key.made(signature, message)]
        found |= {key.id: key for key in made}
        named = next((key for key in known if key.id == keyid), None)
        if named is not None and named not in made:
            raise CheckError(f"the signature does not hold: '{named.name}' did not sign this", where=where)
    return list(found.values())


def _decode(text: str) -> bytes:
    """Base64, standard or URL-safe: "verifiers MUST accept either" (protocol.md)."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
