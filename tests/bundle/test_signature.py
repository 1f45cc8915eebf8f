"""Signatures: other implementations believe ours and we believe theirs; what is hostile is refused with a reason."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.bundle.check import check_bundle, read_bundle_manifest
from sprue.canonical import canonical, file_digest
from sprue.errors import CheckError, SprueError
from sprue.trust import dsse
from sprue.trust.keys import (
    PrivateKey,
    PublicKey,
    find_public,
    keys_folder,
    list_keys,
    new_key,
    read_private,
    read_public,
)
from sprue.trust.provenance import PAYLOAD_TYPE, statement
from sprue.trust.signature import require_keys, sign_bundle, signature_files, signatures

pytest.importorskip("cryptography", reason="needs cryptography (the extra `signing`)")

Freeze = Callable[..., Path]

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "team/models",
    "GITHUB_SHA": "c" * 40,
    "GITHUB_RUN_ID": "17",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_WORKFLOW_REF": "team/models/.github/workflows/seal.yml@refs/heads/main",
    "GITHUB_TOKEN": "ghs_secret",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_SERVER_URL": "https://gitlab.example",
    "CI_PROJECT_PATH": "team/models",
    "CI_COMMIT_SHA": "c" * 40,
    "CI_RUNNER_ID": "5",
    "CI_JOB_URL": "https://gitlab.example/team/models/-/jobs/9",
    "CI_JOB_TOKEN": "secret",
}


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    new_key("ci", tmp_path / "keys")
    return read_private(tmp_path / "keys" / "ci.key")


@pytest.fixture
def other(tmp_path: Path) -> PrivateKey:
    new_key("other", tmp_path / "keys")
    return read_private(tmp_path / "keys" / "other.key")


def trusted(bundle: Path, *keys: PublicKey) -> list[str]:
    """The names of those of `keys` that signed the bundle."""
    return [s.key.name for s in signatures(bundle, read_bundle_manifest(bundle), keys)]


def refused(bundle: Path, *keys: PublicKey) -> str:
    with pytest.raises(CheckError) as caught:
        require_keys(bundle, read_bundle_manifest(bundle), keys)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=30)


def parts(path: Path) -> tuple[bytes, bytes]:
    """The signed bytes, put together here once more, and the signature."""
    value = json.loads(path.read_bytes())
    kind, payload = value["payloadType"].encode(), base64.b64decode(value["payload"])
    signed = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    return signed, base64.b64decode(value["signatures"][0]["sig"])


# What others say of it


def test_the_encoding_is_the_specification_s_example() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"  # DSSE, protocol.md, test vectors
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == expected
    assert dsse.pae("é", b"\0\xff") == b"DSSEv1 2 \xc3\xa9 2 \0\xff"


def test_openssl_believes_our_signature_and_no_other_message(
    bundle: Path, key: PrivateKey, tmp_path: Path
) -> None:
    message, signature = parts(sign_bundle(bundle, key, {}))
    (tmp_path / "pae").write_bytes(message)
    (tmp_path / "sig").write_bytes(signature)
    question = ("pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "keys" / "ci.pub", "-rawin")
    answer = openssl(*question, "-in", tmp_path / "pae", "-sigfile", tmp_path / "sig")
    assert answer.returncode == 0, answer.stderr
    (tmp_path / "pae").write_bytes(message[:-1] + b" ")
    assert openssl(*question, "-in", tmp_path / "pae", "-sigfile", tmp_path / "sig").returncode != 0


def test_we_believe_a_signature_of_openssl_with_openssl_s_key(bundle: Path, tmp_path: Path) -> None:
    """And the id of a key is what openssl and sha256sum make of it."""
    pem, public = tmp_path / "o.key", tmp_path / "o.pub"
    old = os.umask(0o077)
    assert openssl("genpkey", "-algorithm", "ed25519", "-out", pem).returncode == 0
    os.umask(old)
    assert openssl("pkey", "-in", pem, "-pubout", "-out", public).returncode == 0
    assert (
        openssl("pkey", "-pubin", "-in", public, "-outform", "DER", "-out", tmp_path / "der").returncode == 0
    )
    theirs = read_public(public)
    assert theirs.id == read_private(pem).public.id == file_digest(tmp_path / "der")
    payload = canonical(statement(read_bundle_manifest(bundle), None, {}))
    (tmp_path / "pae").write_bytes(dsse.pae(PAYLOAD_TYPE, payload))
    made = openssl("pkeyutl", "-sign", "-inkey", pem, "-rawin", "-in", tmp_path / "pae")
    envelope = {
        "payload": base64.urlsafe_b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(made.stdout).decode(), "extension": {"kind": "x"}}],
    }
    (tmp_path / "bundle.x.intoto.jsonl").write_text(json.dumps(envelope, indent=2))
    assert trusted(bundle, theirs) == ["o"]


def test_securesystemslib_believes_our_envelope(bundle: Path, key: PrivateKey, other: PrivateKey) -> None:
    library = pytest.importorskip("securesystemslib.dsse", reason="needs securesystemslib (the extra `dev`)")
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    envelope = library.Envelope.from_dict(json.loads(sign_bundle(bundle, key, {}).read_bytes()))
    folder = bundle.parent / "keys"
    keys = {
        name: SSlibKey.from_crypto(load_pem_public_key((folder / f"{name}.pub").read_bytes()), key.public.id)
        for name in ("ci", "other")
    }
    assert list(envelope.verify([keys["ci"]], 1)) == [key.public.id]
    with pytest.raises(VerificationError):
        envelope.verify([keys["other"]], 1)


@pytest.mark.parametrize("environment", [{}, GITHUB, GITLAB], ids=["nowhere", "GitHub", "GitLab"])
def test_in_toto_s_own_classes_read_the_statement(bundle: Path, environment: dict[str, str]) -> None:
    """Every field is one that the protobuf definitions of statement and provenance know."""
    pytest.importorskip("in_toto_attestation", reason="needs in-toto-attestation (the extra `dev`)")
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    manifest = read_bundle_manifest(bundle)
    made = statement(manifest, {"name": "tiny"}, environment)
    read = Statement.copy_from_pb(ParseDict(made, statement_pb2.Statement()))
    read.validate()
    assert read.pb.subject[0].digest == {"sha256": file_digest(bundle / "manifest.json")}
    predicate = ParseDict(made["predicate"], provenance_pb2.Provenance())
    assert predicate.build_definition.external_parameters["bundle"] == "tiny@1.0.0"
    dependencies = {d.name: d.digest.get("sha256") for d in predicate.build_definition.resolved_dependencies}
    for path in ("model/model.onnx", "data/evaluation.npz"):
        assert dependencies[path] == file_digest(bundle / path)
    assert predicate.run_details.builder.id


# What is in it


def test_ci_says_who_built_it_and_nothing_secret_is_written(tmp_path: Path, fill: Freeze) -> None:
    folder = fill(tmp_path / "b", source={"revision": "c" * 40, "digest": "a" * 64})
    for environment, builder, run in (
        (GITHUB, f"https://github.com/{GITHUB['GITHUB_WORKFLOW_REF']}", "actions/runs/17/attempts/2"),
        (GITLAB, "https://gitlab.example/team/models/-/runners/5", "jobs/9"),
    ):
        made = statement(read_bundle_manifest(folder), None, environment)
        details = made["predicate"]["runDetails"]
        assert details["builder"]["id"] == builder
        assert details["metadata"]["invocationId"].endswith(run)
        source = made["predicate"]["buildDefinition"]["resolvedDependencies"][0]
        assert source["digest"] == {"gitCommit": "c" * 40}
        assert source["uri"].startswith("git+https://")
        assert "secret" not in json.dumps(made)


@pytest.mark.parametrize("revision", [None, "c" * 40 + "-dirty"])
def test_a_commit_is_named_only_if_it_is_what_was_built(
    tmp_path: Path, fill: Freeze, revision: str | None
) -> None:
    folder = fill(tmp_path / "b", source={"revision": revision, "digest": "a" * 64})
    made = statement(read_bundle_manifest(folder), None, GITHUB)["predicate"]["buildDefinition"]
    assert not any("gitCommit" in d.get("digest", {}) for d in made["resolvedDependencies"])
    assert made["internalParameters"]["source"] == {"revision": revision, "digest": "a" * 64}


def test_signing_changes_nothing_in_the_bundle_and_is_the_same_each_time(
    bundle: Path, key: PrivateKey, other: PrivateKey
) -> None:
    before = {p: p.stat().st_mtime_ns for p in bundle.rglob("*")}
    ident = check_bundle(bundle).id
    first = sign_bundle(bundle, key, {})
    assert sign_bundle(bundle, key, {}) == first
    second = sign_bundle(bundle, other, {})
    third = sign_bundle(bundle, key, GITHUB)
    assert signature_files(bundle) == sorted([first, second, third])
    assert {p: p.stat().st_mtime_ns for p in bundle.rglob("*")} == before
    assert check_bundle(bundle).id == ident
    assert sorted(trusted(bundle, key.public, other.public)) == ["ci", "ci", "other"]
    assert trusted(bundle, other.public) == ["other"]


def test_a_damaged_bundle_is_not_signed(bundle: Path, key: PrivateKey) -> None:
    (bundle / "model" / "model.onnx").write_bytes(b"THE MODEL")
    with pytest.raises(CheckError, match="is damaged"):
        sign_bundle(bundle, key, {})
    assert signature_files(bundle) == []


# Keys


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
    bad += [b"x" * (100 * 2**20), good.replace(b"MC4C", b"MC4D")]
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
    with pytest.raises(SprueError, match="there is no key 'c1'") as caught:
        find_public("c1", keys_folder(None))
    assert "did you mean 'ci'?" in caught.value.remedy


# What is hostile


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
