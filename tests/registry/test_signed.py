"""Signatures travel through a registry, and a policy decides before anything is fetched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.bundle.store import Store

pytest.importorskip("cryptography", reason="needs cryptography (the extra `signing`)")

Run = Callable[..., subprocess.CompletedProcess[str]]

POLICY = '[keys]\nci = "keys/ci.pub"\n[sign.tiny]\nkeys = ["ci"]\n'


@pytest.fixture
def ask(sprue_here: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line with the keys `ci` and `stranger`, and a policy that trusts the first."""
    monkeypatch.setenv("SPRUE_KEYS", str(project / "keys"))
    monkeypatch.delenv("SPRUE_POLICY", raising=False)
    for name in ("ci", "stranger"):
        assert sprue_here("key", "new", name).returncode == 0
    (project / "policy.toml").write_text(POLICY)
    return sprue_here


def pull(ask: Run, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return ask("pull", f"{url}:1.0.0", "--require-signature", "--policy", "policy.toml", *arguments)


def test_a_bundle_is_pulled_only_when_the_policy_agrees(
    ask: Run, bundle: Path, url: str, project: Path
) -> None:
    assert ask("publish", str(bundle), url).returncode == 0
    refused = pull(ask, url)
    assert (refused.returncode, "not signed by 'ci'" in refused.stderr) == (1, True)
    ask("bundle", "sign", str(bundle), "--key", "stranger", "--builder-id", "https://ci.example/1")
    assert "1 new signatures" in ask("publish", str(bundle), url).stdout
    refused = pull(ask, url, "--target", "phone")
    assert (refused.returncode, "not signed by 'ci'" in refused.stderr) == (1, True)
    assert not (project / "bundles").exists() or Store(project / "bundles").bundles() == []
    assert not (project / "tiny-1.0.0-phone").exists()
    ask("bundle", "sign", str(bundle), "--key", "ci", "--builder-id", "https://ci.example/1")
    again = json.loads(ask("publish", str(bundle), url, "--json").stdout)
    assert (again["new"], again["signatures"]) == (False, 1)
    done = pull(ask, url, "--json")
    assert done.returncode == 0, done.stderr
    (signature,) = json.loads(done.stdout)["signatures"]
    assert (signature["key"], signature["builder"]) == ("ci", "https://ci.example/1")
    verified = ask("bundle", "verify", "tiny", "--require-signature", "--policy", "policy.toml")
    assert "signed by ci" in verified.stdout, verified.stderr


def test_a_signature_of_another_bundle_does_not_count(
    ask: Run, make: Callable[..., Path], tmp_path: Path, project: Path
) -> None:
    url = str(tmp_path / "registry")
    good, evil = make("good"), make("evil", {"model/model.onnx": b"evil"}, version="1.0.1")
    ask("bundle", "sign", str(good), "--key", "ci", "--builder-id", "https://ci.example/1")
    (signature,) = good.parent.glob("good.*.intoto.jsonl")
    signature.rename(evil.parent / signature.name.replace("good", "evil"))
    assert ask("publish", str(evil), url).returncode == 0
    refused = ask("pull", f"{url}:1.0.1", "--require-signature", "--policy", "policy.toml")
    assert refused.returncode == 1
    assert not (project / "bundles").exists() or Store(project / "bundles").bundles() == []
