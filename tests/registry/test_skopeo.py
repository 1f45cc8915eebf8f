"""skopeo, which knows nothing of sprue, copies what was published: the copy is as good as the original."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from sprue.bundle.store import Store
from sprue.registry.protocol import INDEX, connect
from sprue.registry.publish import publish
from sprue.registry.pull import find, pull_bundle

pytestmark = pytest.mark.slow

Make = Callable[..., Path]


def skopeo(*arguments: str) -> str:
    program = shutil.which("skopeo")
    if program is None:
        pytest.skip("skopeo is not installed (Debian's package of that name)")
    login = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    done = subprocess.run(
        [program, *arguments, "--authfile", str(login)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def raw(url: str) -> bytes:
    return skopeo("inspect", "--raw", "--tls-verify=false", url.replace("oci://", "docker://")).encode()


def copy(source: str, to: str) -> None:
    urls = [url.replace("oci://", "docker://") for url in (source, to)]
    skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", *urls)


@pytest.fixture
def source(oci_url: str) -> str:
    return f"{oci_url}/{uuid4().hex}"


def test_a_copy_by_skopeo_has_every_digest_and_is_pulled_with_its_signatures(
    source: str, other_oci_url: str, bundle: Path, tmp_path: Path
) -> None:
    other = f"{other_oci_url}/copied/{uuid4().hex}"
    envelope = b'{"payload":"","payloadType":"x","signatures":[]}'
    with closing(connect(source)) as registry:
        published = publish(bundle, registry, [envelope])
    signatures = f"sha256-{published.index.sha256}"
    copy(f"{source}:1.0.0", f"{other}:1.0.0")
    copy(f"{source}:{signatures}", f"{other}:{signatures}")
    with closing(connect(other)) as registry:
        assert registry.resolve("1.0.0") == published.index
        found = find(registry, "1.0.0", signatures=True)
        assert found.signatures == (envelope,)
        received = pull_bundle(registry, found, Store(tmp_path / "store"))
    assert received.manifest == published.manifest


def test_what_skopeo_sees_are_modelpack_manifests_of_raw_files(source: str, bundle: Path) -> None:
    with closing(connect(source)) as registry:
        publish(bundle, registry)
    index = json.loads(raw(f"{source}:1.0.0"))
    assert index["mediaType"] == INDEX
    assert "artifactType" not in index
    seen = {}
    for described in index["manifests"]:
        manifest = json.loads(raw(f"{source}@{described['digest']}"))
        assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
        assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
        paths = [layer["annotations"]["org.cncf.model.filepath"] for layer in manifest["layers"]]
        assert paths[0] == "manifest.json"
        assert all(layer["mediaType"].endswith(".v1.raw") for layer in manifest["layers"])
        seen[described["annotations"].get("sprue.target")] = set(paths[1:])
    files = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()} - {"manifest.json"}
    assert set().union(*seen.values()) == files
    assert seen["phone"] == {f for f in files if f.startswith("targets/phone/")}
    platforms = [described.get("platform") for described in index["manifests"]]
    assert platforms == [
        None,
        {"os": "android", "architecture": "arm64"},
        {"os": "linux", "architecture": "amd64"},
    ]


def test_what_another_repository_has_is_mounted_and_not_sent(
    oci_url: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, sibling = uuid4().hex, uuid4().hex
    with closing(connect(f"{oci_url}/{base}")) as registry:
        publish(make("base"), registry)
    sent: list[str] = []
    with closing(connect(f"{oci_url}/{sibling}?mount={base}")) as registry:
        finish = registry._finish  # type: ignore[attr-defined]  # the step that sends

        def counted(place: object, what: object, *rest: object) -> None:
            sent.append(what.sha256)  # type: ignore[attr-defined]
            finish(place, what, *rest)

        monkeypatch.setattr(registry, "_finish", counted)
        manifest = publish(make("sibling", {"model/model.onnx": b"retrained"}), registry).manifest
        found = find(registry, "1.0.0")
        assert found.manifest == manifest
    shared = {f.sha256 for f in manifest.files if f.path != "model/model.onnx"}
    assert not shared & set(sent)
    assert {f.sha256 for f in manifest.files} - shared <= set(sent)
