"""Signatures: other implementations believe ours and we believe theirs, and both mean the same."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.bundle.beside import signature_files
from sprue.bundle.check import check_bundle, read_bundle_manifest
from sprue.canonical import canonical, file_digest
from sprue.errors import CheckError
from sprue.trust import dsse
from sprue.trust.keys import (
    PrivateKey,
    PublicKey,
    read_private,
    read_public,
)
from sprue.trust.provenance import PAYLOAD_TYPE, statement
from sprue.trust.signature import sign_bundle, signatures

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


def trusted(bundle: Path, *keys: PublicKey) -> list[str]:
    """The names of those of `keys` that signed the bundle."""
    return [s.key.name for s in signatures(bundle, read_bundle_manifest(bundle), keys)]


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
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # in its __init__, not in __all__

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
    from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]  # it has no stubs
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


def test_what_no_reader_would_take_is_not_signed(
    bundle: Path, key: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dsse, "MAX_ENVELOPE_BYTES", 1000)
    with pytest.raises(CheckError, match="names too many files"):
        sign_bundle(bundle, key, {})
    assert signature_files(bundle) == []


def test_a_recipe_that_is_no_json_is_not_signed(tmp_path: Path, fill: Freeze, key: PrivateKey) -> None:
    for data in (b"x", b'{"a":1,"a":2}', b"[" * 10**5, b" " * (2**20 + 1)):
        folder = fill(tmp_path / f"b{len(data)}", {"evidence/recipe.json": data})
        with pytest.raises(CheckError, match=r"recipe\.json"):
            sign_bundle(folder, key, {})
