"""A policy says whose signature counts; a mistake in it is named with file, line and key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.bundle.check import check_bundle, read_bundle_manifest
from sprue.errors import CheckError, SprueError
from sprue.trust.keys import PrivateKey, new_key, read_private
from sprue.trust.policy import Policy, PolicyFile, _matches, read_policy
from sprue.trust.signature import sign_bundle

pytest.importorskip("cryptography", reason="needs cryptography (the extra `signing`)")

Freeze = Callable[..., Path]

POLICY = """\
[keys]
ci = "ci.pub"
release = "release.pub"
alice = "alice.pub"

[sign.tiny]
keys = ["ci"]

[sign."intent-*"]
keys = ["ci", "release"]
threshold = 2

[sign."built-*"]
keys = ["ci"]
builders = ["https://ci.example/*"]

[sign."*"]
keys = ["release"]
"""


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, PrivateKey]:
    made = {}
    for name in ("ci", "release", "alice"):
        new_key(name, tmp_path)
        made[name] = read_private(tmp_path / f"{name}.key")
    return made


@pytest.fixture
def policy(tmp_path: Path, keys: dict[str, PrivateKey]) -> Policy:
    return read(tmp_path, POLICY)


def read(folder: Path, text: str) -> Policy:
    (folder / "trust.toml").write_text(text)
    return read_policy(folder / "trust.toml")


def counted(policy: Policy, bundle: Path) -> set[str]:
    return {s.key.name for s in policy.require(bundle, read_bundle_manifest(bundle))}


def refused(policy: Policy, bundle: Path) -> CheckError:
    with pytest.raises(CheckError) as caught:
        policy.require(bundle, read_bundle_manifest(bundle))
    return caught.value


def test_a_key_that_the_policy_names_may_sign_and_another_may_not(
    bundle: Path, policy: Policy, keys: dict[str, PrivateKey]
) -> None:
    assert "no signature lies beside it" in refused(policy, bundle).what
    ident = check_bundle(bundle).id
    sign_bundle(bundle, keys["alice"], {})
    error = refused(policy, bundle)
    assert error.what == "'alice' signed it, but may not sign 'tiny'"
    assert error.remedy == f"{policy.path}:6 wants 1 of 'ci'"
    sign_bundle(bundle, keys["ci"], {})
    assert counted(policy, bundle) == {"ci"}
    assert check_bundle(bundle).id == ident


def test_a_key_that_nobody_knows_is_no_signature(tmp_path: Path, bundle: Path, policy: Policy) -> None:
    new_key("mallory", tmp_path)
    sign_bundle(bundle, read_private(tmp_path / "mallory.key"), {})
    assert "none of 1 beside it is" in refused(policy, bundle).what


def test_two_of_two_must_have_signed_and_one_twice_is_not_two(
    tmp_path: Path, fill: Freeze, policy: Policy, keys: dict[str, PrivateKey]
) -> None:
    folder = fill(tmp_path / "b", name="intent-de")
    sign_bundle(folder, keys["ci"], {})
    sign_bundle(folder, keys["ci"], {}, "https://elsewhere")
    assert refused(policy, folder).what == "signed by ci only, 1 more of 'ci' or 'release' must sign it"
    sign_bundle(folder, keys["release"], {})
    assert counted(policy, folder) == {"ci", "release"}


def test_the_signed_builder_must_be_one_that_may_build(
    tmp_path: Path, fill: Freeze, policy: Policy, keys: dict[str, PrivateKey]
) -> None:
    folder = fill(tmp_path / "b", name="built-x")
    sign_bundle(folder, keys["ci"], {}, "https://laptop.example/https://ci.example/")
    assert "which may not build it" in refused(policy, folder).what
    sign_bundle(folder, keys["ci"], {}, "https://ci.example/runner/7")
    assert counted(policy, folder) == {"ci"}


def test_an_exact_name_counts_before_patterns_and_patterns_in_order(policy: Policy) -> None:
    expected = {"tiny": "tiny", "tiny2": "*", "intent-": "intent-*", "intent": "*", "Tiny": "*"}
    assert {name: policy.rule(name).pattern for name in expected} == expected


def test_a_name_without_a_rule_is_refused(tmp_path: Path, bundle: Path, keys: dict[str, PrivateKey]) -> None:
    made = read(tmp_path, '[keys]\nci = "ci.pub"\n[sign.other]\nkeys = ["ci"]\n')
    sign_bundle(bundle, keys["ci"], {})
    error = refused(made, bundle)
    assert (error.what, error.remedy) == ("no rule says who may sign 'tiny'", "add [sign.tiny] with its keys")


def test_a_key_may_stand_in_the_policy_itself(
    tmp_path: Path, bundle: Path, keys: dict[str, PrivateKey]
) -> None:
    pem = (tmp_path / "ci.pub").read_text()
    made = read(tmp_path, f'[keys]\nci = """\n{pem}"""\n[sign."*"]\nkeys = ["ci"]\n')
    sign_bundle(bundle, keys["ci"], {})
    assert counted(made, bundle) == {"ci"}


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("threshold", "treshold", ":11", "unknown key"),
        ('["ci"]', '["cii"]', ":7", "names 'cii', which is not in [keys]"),
        ('["ci"]', "[]", ":7", "sign.tiny.keys"),
        ('["ci"]', '"ci"', ":7", "sign.tiny.keys"),
        ("threshold = 2", "threshold = 3", ":11", "only 2 keys may sign"),
        ("threshold = 2", "threshold = 0", ":11", "greater than or equal to 1"),
        ("threshold = 2", 'threshold = "2"', ":11", "should be a whole number"),
        ('["ci", "release"]', '["ci", "ci"]', ":11", "only 1 keys may sign"),
        ('"ci.pub"', '"absent.pub"', ":2", "'keys.ci': cannot read the key: No such file"),
        ('"ci.pub"', '"ci.key"', ":2", "'keys.ci': this is a private key"),
        ('"ci.pub"', '"trust.toml"', ":2", "'keys.ci': not a public key in PEM"),
        ('"ci.pub"', '"."', ":2", "'keys.ci': not a plain file"),
        ('"ci.pub"', '"-----BEGIN PUBLIC KEY-----"', ":2", "not a public key in PEM"),
        ('"alice.pub"', '"ci.pub"', ":4", "'keys.alice' is the same key as 'keys.ci'"),
        ("[sign.tiny]", '[sign."../tiny"]', "", "sign.../tiny"),
        ("[sign.tiny]", '[sign."ti?y"]', "", "sign.ti?y"),
        ("[keys]", "[keys", ":1", "not valid TOML"),
        (POLICY, "", "", "the key 'keys' is missing"),
        (POLICY, '[keys]\nci = "ci.pub"\n', "", "the key 'sign' is missing"),
    ],
)
def test_a_mistake_in_a_policy_is_named_with_its_place(
    tmp_path: Path, keys: dict[str, PrivateKey], old: str, new: str, where: str, what: str
) -> None:
    assert old in POLICY
    with pytest.raises(SprueError) as caught:
        read(tmp_path, POLICY.replace(old, new, 1))
    assert caught.value.where.startswith(f"{tmp_path / 'trust.toml'}{where}")
    assert what in caught.value.what


def test_the_schema_for_editors_takes_what_we_take(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema (the extra `dev`)")
    check = jsonschema.Draft202012Validator(PolicyFile.model_json_schema())
    assert check.is_valid(tomllib.loads(POLICY))
    for old, new in (("threshold", "treshold"), ('["ci"]', "[]"), ("[sign.tiny]", '[sign."ti?y"]')):
        assert not check.is_valid(tomllib.loads(POLICY.replace(old, new, 1)))


@given(st.text("ab.*[?", max_size=8), st.text("ab.[?", max_size=8))
def test_only_a_star_is_special_in_a_pattern(pattern: str, text: str) -> None:
    """Against the definition: some split of the text has the pattern's pieces in order."""

    def holds(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return any(holds(p[1:], t[i:]) for i in range(len(t) + 1))
        return t[:1] == p[0] and holds(p[1:], t[1:])

    assert _matches(text, pattern) == holds(pattern, text)
