"""Keys, signatures, policies and the bill of materials from the command line, on a bundle that was built."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="needs cryptography (the extra `signing`)")

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(template: Path, sprue: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the bundle tiny@1.2.3."""
    project = shutil.copytree(template, tmp_path_factory.mktemp("built") / "project")
    done = sprue(project, "build", "recipes/tiny.toml")
    assert done.returncode == 0, done.stderr
    return project / "bundles"


@pytest.fixture
def ask(built: Path, project: Path, sprue_here: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in a project with that store, and with a key `ci` in a folder of its own."""
    monkeypatch.setenv("SPRUE_KEYS", str(project / "keys"))
    monkeypatch.delenv("SPRUE_STORE", raising=False)
    monkeypatch.delenv("SPRUE_POLICY", raising=False)
    for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(built, project / "bundles")
    assert sprue_here("key", "new", "ci").returncode == 0
    return sprue_here


def test_a_built_bundle_is_signed_verified_and_keeps_its_id(ask: Run, project: Path) -> None:
    before = json.loads(ask("bundle", "verify", "tiny", "--json").stdout)[0]
    assert before["signatures"] == []
    said = ask("bundle", "sign", "tiny@1.2.3", "--key", "ci", "--builder-id", "https://ci.example/1")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("signed tiny@1.2.3 by ci: ")
    after = json.loads(ask("bundle", "verify", "tiny", "--key", "ci.pub", "--json").stdout)[0]
    assert {**after, "signatures": []} == before
    (signature,) = after["signatures"]
    assert (signature["key"], signature["builder"]) == ("ci", "https://ci.example/1")
    assert Path(signature["file"]).parent == project / "bundles" / "tiny"
    line = ask("bundle", "verify", "tiny", "--key", str(project / "keys" / "ci.pub")).stdout
    assert "signed by ci (built by https://ci.example/1)" in line
    assert [b["name"] for b in json.loads(ask("bundle", "list", "--json").stdout)] == ["tiny"]


def test_the_second_reader_verifies_what_was_built(built: Path) -> None:
    (folder,) = built.glob("tiny/*-*/")
    command = [sys.executable, "-I", "-S", str(ROOT / "docs" / "verify.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:9]) == (0, "verified ")


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("openssl")), reason="needs jq and openssl")
def test_the_documented_commands_verify_a_signature_without_sprue(ask: Run, project: Path) -> None:
    text = (ROOT / "docs" / "trust.md").read_text()
    commands = text.partition("Without sprue:\n```sh\n")[2].partition("```")[0].replace("1.4.0", "1.2.3")
    (project / "ci.pub").write_bytes((project / "keys" / "ci.pub").read_bytes())
    signed = json.loads(ask("bundle", "sign", "tiny", "--key", "ci", "--json").stdout)[0]["file"]
    done = subprocess.run(
        ["bash", "-euc", commands.replace("digits", "tiny")],
        cwd=project,
        env={"f": signed, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdict, subject, found = done.stdout.splitlines()
    assert (verdict, found[:64]) == ("Signature Verified Successfully", subject), done.stderr


def test_a_missing_or_changed_signature_is_exit_code_1(ask: Run, project: Path) -> None:
    done = ask("bundle", "verify", "tiny", "--key", "ci.pub")
    assert (done.returncode, "not signed by 'ci'" in done.stderr) == (1, True)
    file = Path(json.loads(ask("bundle", "sign", "tiny", "--key", "ci", "--json").stdout)[0]["file"])
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b'"sig":"', b'"sig":"AAAA'))
    done = ask("bundle", "verify", "tiny", "--key", "ci.pub", "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert (error["what"], error["where"]) == (
        "the signature does not hold: 'ci' did not sign this",
        str(file),
    )
    assert ask("bundle", "verify", "tiny").returncode == 0, "nobody asked about signatures"


def test_a_policy_is_enforced_by_option_and_by_environment(
    ask: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "trust.toml").write_text('[keys]\nci = "keys/ci.pub"\n[sign."ti*"]\nkeys = ["ci"]\n')
    question = ("bundle", "verify", "tiny", "--require-signature")
    assert ask(*question).returncode == 2, "nothing says whose signature counts"
    assert ask(*question, "--policy", "trust.toml").returncode == 1
    ask("bundle", "sign", "tiny", "--key", "ci")
    assert ask(*question, "--policy", "trust.toml").returncode == 0
    monkeypatch.setenv("SPRUE_POLICY", "trust.toml")
    assert "signed by ci" in ask("bundle", "verify", "tiny").stdout
    (project / "trust.toml").write_text('[keys]\nci = "keys/ci.pub"\n[sign.other]\nkeys = ["ci"]\n')
    done = ask("bundle", "verify", "tiny")
    assert (done.returncode, "no rule says who may sign 'tiny'" in done.stderr) == (1, True)
    (project / "trust.toml").write_text("[kees]\n")
    done = ask("bundle", "verify", "tiny")
    assert (done.returncode, "trust.toml:1: unknown key 'kees'" in done.stderr) == (2, True)


def test_a_signature_travels_in_the_archive_and_import_demands_it(ask: Run, project: Path) -> None:
    ask("bundle", "sign", "tiny", "--key", "ci")
    assert ask("bundle", "export", "tiny", "bare.tar").returncode == 0
    assert ask("bundle", "export", "tiny", "signed.tar", "--with-signatures").returncode == 0
    demand = ("--require-signature", "--key", "ci.pub", "--store", "air")
    done = ask("bundle", "import", "bare.tar", *demand)
    assert (done.returncode, "not signed by 'ci'" in done.stderr) == (1, True)
    assert "no bundles" in ask("bundle", "list", "--store", "air").stdout
    done = ask("bundle", "import", "signed.tar", *demand)
    assert (done.returncode, "signed by ci" in done.stdout) == (0, True), done.stderr
    assert ask("bundle", "verify", "tiny", *demand).returncode == 0
    assert ask("bundle", "import", "signed.tar", "--require-signature").returncode == 2


def test_keys_are_listed_and_never_printed(ask: Run, project: Path) -> None:
    listed = json.loads(ask("key", "list", "--json").stdout)
    assert [(k["name"], k["private"]) for k in listed] == [("ci", "here")]
    secret = (project / "keys" / "ci.key").read_text().splitlines()[1]
    (project / "keys" / "ci.key").chmod(0o644)
    said = [ask("key", "list"), ask("bundle", "sign", "tiny", "--key", "ci"), ask("key", "new", "ci")]
    assert "readable by others" in said[0].stdout
    assert (said[1].returncode, "others may read" in said[1].stderr) == (1, True)
    assert said[2].returncode == 2
    assert not any(secret in done.stdout + done.stderr for done in said)
    assert "no keys" in ask("key", "list", "--folder", str(project / "none")).stdout
    assert ask("bundle", "sign", "tiny", "--key", "cj").returncode == 2


def test_the_bill_of_materials_is_printed_or_written(ask: Run, project: Path) -> None:
    pytest.importorskip("cyclonedx", reason="needs cyclonedx-python-lib (the extra `bom`)")
    done = ask("bundle", "bom", "tiny")
    made = json.loads(done.stdout)
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert made["metadata"]["component"]["name"] == "tiny"
    written = json.loads(ask("bundle", "bom", "tiny", "-o", "bom.json", "--json").stdout)
    assert (project / "bom.json").read_text() == done.stdout
    assert written["bytes"] == len(done.stdout.encode())


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [
        ("cryptography", ("key", "new", "other"), "signing"),
        ("cryptography", ("bundle", "sign", "tiny", "--key", "ci"), "signing"),
        ("cyclonedx", ("bundle", "bom", "tiny"), "bom"),
    ],
)
def test_an_absent_package_is_named_with_its_extra(
    ask: Run, monkeypatch: pytest.MonkeyPatch, package: str, command: tuple[str, ...], extra: str
) -> None:
    for name in [m for m in sys.modules if m.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    done = ask(*command)
    assert done.returncode == 2
    assert f"pip install 'sprue[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
