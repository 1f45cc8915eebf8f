"""Whatever lies beside a bundle as a signature is believed for a reason, or refused with one."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.bundle.beside import signature_files
from sprue.bundle.check import check_bundle, read_bundle_manifest
from sprue.canonical import canonical
from sprue.errors import CheckError
from sprue.trust import dsse
from sprue.trust.keys import PrivateKey, PublicKey
from sprue.trust.provenance import PAYLOAD_TYPE, statement
from sprue.trust.signature import require_keys, sign_bundle, signatures

pytest.importorskip("cryptography", reason="needs cryptography (the extra `signing`)")

Freeze = Callable[..., Path]


def trusted(bundle: Path, *keys: PublicKey) -> list[str]:
    """The names of those of `keys` that signed the bundle."""
    return [s.key.name for s in signatures(bundle, read_bundle_manifest(bundle), keys)]


def refused(bundle: Path, *keys: PublicKey) -> str:
    with pytest.raises(CheckError) as caught:
        require_keys(bundle, read_bundle_manifest(bundle), keys)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def hostile(good: dict[str, Any]) -> dict[str, bytes]:
    """Envelopes beside a bundle that nobody should believe, by what is wrong with them."""
    data = canonical(good)
    one = good["signatures"][0]
    return {
        "empty": b"",
        "not JSON": b"x",
        "not UTF-8": b"\xff" * 10,
        "a list": b"[]",
        "null": b"null",
        "100 MB": b" " * (100 * 2**20),
        "deep": b"[" * 10**6,
        "deep objects": b'{"payload":' * 10**6,
        "deep in an unknown key": data[:-1] + b',"x":' + b"[" * 10**6,
        "a key twice": data.replace(b'"payload":', b'"payload":"","payload":'),
        "two envelopes": data + b"\n" + data,
        "no signatures": canonical(good | {"signatures": []}),
        "many signatures": canonical(good | {"signatures": [one] * 101}),
        "signatures of another type": canonical(good | {"signatures": {"0": one}}),
        "no payload": canonical({k: v for k, v in good.items() if k != "payload"}),
        "payload of another type": canonical(good | {"payload": 1}),
        "payload no base64": canonical(good | {"payload": "%%%%"}),
        "payload with junk": canonical(good | {"payload": good["payload"][:8] + "\n" + good["payload"][8:]}),
        "payload not ASCII": canonical(good | {"payload": "é"}),
        "a surrogate": data.replace(b"application", b"\\ud800"),
        "a huge number": data[:-1] + b',"x":' + b"9" * 10_000 + b"}",
        "NaN": data[:-1] + b',"x":NaN}',
        "other payload": canonical(good | {"payload": base64.b64encode(b"{}").decode()}),
        "other payload type": canonical(good | {"payloadType": "application/json"}),
        "short signature": canonical(good | {"signatures": [one | {"sig": one["sig"][:40]}]}),
        "no signature": canonical(good | {"signatures": [one | {"sig": ""}]}),
        "all zero": canonical(good | {"signatures": [one | {"sig": base64.b64encode(bytes(64)).decode()}]}),
    }


def test_no_hostile_envelope_is_believed(bundle: Path, key: PrivateKey) -> None:
    path = sign_bundle(bundle, key, {})
    good = path.read_bytes()
    path.chmod(0o644)
    cases = hostile(json.loads(good))
    for what, data in cases.items():
        path.write_bytes(data)
        assert str(path) in refused(bundle, key.public), what
    cuts = range(0, len(good) - 2, len(good) // 40)
    for end in cuts:
        path.write_bytes(good[:end])
        assert str(path) in refused(bundle, key.public)
    path.write_bytes(good)
    assert trusted(bundle, key.public) == ["ci"]
    print(f"{len(cases) + len(cuts)} hostile envelopes tried")


def test_any_flipped_bit_is_refused_or_of_no_meaning(bundle: Path, key: PrivateKey) -> None:
    """Of no meaning: an envelope says of its key what nobody has to believe."""
    path = sign_bundle(bundle, key, {})
    good = path.read_bytes()
    path.chmod(0o644)
    payload = json.loads(good)["payload"]
    refusals = 0
    for i in range(0, len(good), 7):
        path.write_bytes(good[:i] + bytes([good[i] ^ (1 << i % 8)]) + good[i + 1 :])
        try:
            found = signatures(bundle, read_bundle_manifest(bundle), [key.public])
        except CheckError:
            refusals += 1
            continue
        assert not found or json.loads(path.read_bytes())["payload"] == payload
    assert refusals > len(good) // 7 * 0.9


def test_a_wrong_keyid_neither_hides_nor_lends_a_signature(
    bundle: Path, key: PrivateKey, other: PrivateKey
) -> None:
    path = sign_bundle(bundle, key, {})
    path.chmod(0o644)
    value = json.loads(path.read_bytes())
    for keyid in ("", None, "junk", "0" * 64):
        value["signatures"][0]["keyid"] = keyid
        path.write_bytes(canonical(value))
        assert trusted(bundle, key.public, other.public) == ["ci"]
    value["signatures"][0]["keyid"] = other.public.id
    path.write_bytes(canonical(value))
    assert "'other' did not sign this" in refused(bundle, key.public, other.public)


def test_a_signature_of_another_bundle_is_refused(tmp_path: Path, fill: Freeze, key: PrivateKey) -> None:
    one, two = fill(tmp_path / "one"), fill(tmp_path / "two", licenses=["MIT"])
    other_name = fill(tmp_path / "three", name="other")
    for foreign in (two, other_name):
        signed = sign_bundle(foreign, key, {})
        moved = signed.rename(one.parent / signed.name.replace(foreign.name, "one"))
        assert "signed for another bundle" in refused(one, key.public)
        moved.unlink()
    assert "no signature lies beside it" in refused(one, key.public)


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": "https://slsa.dev/provenance/v0.2"},
        {"subject": []},
        {"subject": [{"name": "tiny@1.0.0"}]},
        {"subject": [{"name": "tiny@1.0.0", "digest": {"sha1": "a"}}]},
        {"subject": [{"name": "tiny@1.0.0", "digest": {"sha256": 1}}]},
        {"subject": [{"name": "other@1.0.0"}]},
        {"predicate": {}},
        {"predicate": {"buildDefinition": {}, "runDetails": {}}},
    ],
)
def test_a_signed_statement_that_says_something_else_is_refused(
    bundle: Path, key: PrivateKey, change: dict[str, Any]
) -> None:
    made = statement(read_bundle_manifest(bundle), None, {}) | change
    if change.get("subject") == [{"name": "other@1.0.0"}]:
        made["subject"][0]["digest"] = {"sha256": check_bundle(bundle).id}
    path = bundle.parent / f"{bundle.name}.x.intoto.jsonl"
    path.write_bytes(dsse.sign(PAYLOAD_TYPE, canonical(made), key))
    assert str(path) in refused(bundle, key.public)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[" * 10**5, b'{"_type":1,"_type":2}', b"\xff"])
def test_a_signed_payload_that_is_no_statement_is_refused(
    bundle: Path, key: PrivateKey, payload: bytes
) -> None:
    path = bundle.parent / f"{bundle.name}.x.intoto.jsonl"
    path.write_bytes(dsse.sign(PAYLOAD_TYPE, payload, key))
    assert "not an in-toto statement" in (said := refused(bundle, key.public)) or "not SLSA" in said
    path.write_bytes(dsse.sign("text/plain", payload, key))
    assert "the payload's type is 'text/plain'" in refused(bundle, key.public)


def test_what_nobody_known_signed_is_passed_over_unread(
    bundle: Path, key: PrivateKey, other: PrivateKey
) -> None:
    (bundle.parent / f"{bundle.name}.x.intoto.jsonl").write_bytes(dsse.sign("x", b"\xff", other))
    assert "none of 1 beside it is" in refused(bundle, key.public)
    sign_bundle(bundle, key, {})
    assert trusted(bundle, key.public) == ["ci"]


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_what_is_no_plain_file_is_no_signature(bundle: Path, key: PrivateKey, kind: str) -> None:
    path = sign_bundle(bundle, key, {})
    moved = path.rename(bundle.parent / "elsewhere")
    if kind == "link":
        path.symlink_to(moved)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert str(path) in refused(bundle, key.public)


def test_a_neighbour_s_signature_is_not_taken_for_its_own(
    tmp_path: Path, fill: Freeze, key: PrivateKey
) -> None:
    for name in ("1.0", "1.0.0", "1*0"):
        sign_bundle(fill(tmp_path / name), key, {})
    assert [len(signature_files(tmp_path / name)) for name in ("1.0.0", "1*0")] == [1, 1]


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_and_never_crash(data: bytes) -> None:
    with pytest.raises(CheckError):
        dsse.read_envelope(data, "here")


@given(st.text(max_size=20).filter(lambda t: t.isascii()), st.binary(max_size=100))
def test_two_messages_never_have_one_encoding(kind: str, payload: bytes) -> None:
    """PAE is read back here: the lengths say where each part ends."""
    rest = dsse.pae(kind, payload).removeprefix(b"DSSEv1 ")
    length, _, rest = rest.partition(b" ")
    assert rest[: int(length)] == kind.encode()
    length, _, body = rest[int(length) + 1 :].partition(b" ")
    assert (int(length), body) == (len(payload), payload)
