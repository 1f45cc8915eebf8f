"""What is signed: an in-toto Statement v1 whose subject is the bundle, with SLSA provenance v1.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance.
Plain dictionaries: in-toto-attestation offers protobuf classes for the same JSON, but nothing that reads what
is hostile; the tests hold what is written here against them.

All of it comes from the bundle and the environment, nothing from the clock: signing twice in one place gives
the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import sprue
from sprue.bundle.manifest import File, Manifest
from sprue.canonical import parse
from sprue.errors import CheckError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:sprue:build:1"
"""Described in docs/trust.md."""
LOCAL_BUILDER = "urn:sprue:builder:unknown"
NOT_PYPI = {"python"}
"""Tools of a toolchain that are no packages of the Python Package Index."""

GITHUB = (
    "GITHUB_REPOSITORY",
    "GITHUB_REF",
    "GITHUB_SHA",
    "GITHUB_WORKFLOW_REF",
    "GITHUB_WORKFLOW_SHA",
    "GITHUB_EVENT_NAME",
    "GITHUB_RUN_ID",
    "GITHUB_RUN_ATTEMPT",
    "RUNNER_ENVIRONMENT",
    "RUNNER_OS",
    "RUNNER_ARCH",
)
GITLAB = (
    "CI_PROJECT_PATH",
    "CI_COMMIT_REF_NAME",
    "CI_COMMIT_SHA",
    "CI_CONFIG_PATH",
    "CI_PIPELINE_SOURCE",
    "CI_PIPELINE_ID",
    "CI_JOB_ID",
    "CI_JOB_NAME",
    "CI_RUNNER_ID",
    "CI_RUNNER_EXECUTABLE_ARCH",
)


def statement(
    manifest: Manifest, recipe: Any, environment: Mapping[str, str], builder: str | None = None
) -> dict[str, Any]:
    """The statement about a bundle; `recipe` is its effective recipe, `builder` overrides what CI says."""
    name = f"{manifest.name}@{manifest.version}"
    run = _run(environment)
    internal: dict[str, Any] = {"source": manifest.source.model_dump(mode="json")}
    if run.get("parameters"):
        internal[run["service"]] = run["parameters"]
    details: dict[str, Any] = {
        "builder": {
            "id": builder or run.get("builder") or LOCAL_BUILDER,
            "version": {"sprue": sprue.__version__},
        },
        "byproducts": [_file(f) for f in manifest.files if f.role == "evidence"],
    }
    if run.get("invocation"):
        details["metadata"] = {"invocationId": run["invocation"]}
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": manifest.id()}}],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "bundle": name,
                    "recipe": recipe,
                    "targets": {t.id: t.variant for t in manifest.targets},
                },
                "internalParameters": internal,
                "resolvedDependencies": [*_sources(manifest, run), *_tools(manifest)],
            },
            "runDetails": details,
        },
    }


class _Form(BaseModel):
    # in-toto: "Consumers MUST ignore unrecognized fields"; what we hold them to, we check.
    model_config = ConfigDict(extra="ignore", strict=True)


class _Subject(_Form):
    name: str = ""
    digest: dict[str, str]


class _Builder(_Form):
    id: str


class _RunDetails(_Form):
    builder: _Builder


class _Predicate(_Form):
    buildDefinition: dict[str, Any]  # noqa: N815  # the formats' own spelling, here and below
    runDetails: _RunDetails  # noqa: N815


class _Statement(_Form):
    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[list[_Subject], Field(min_length=1, max_length=1)]
    predicateType: Literal["https://slsa.dev/provenance/v1"]  # noqa: N815
    predicate: _Predicate


def builder_of(payload_type: str, payload: bytes, manifest: Manifest, where: str) -> str:
    """Read a statement whose signature holds, and return its builder's id.

    Raises CheckError unless it is SLSA provenance v1 about the bundle with exactly this manifest.
    """
    if payload_type != PAYLOAD_TYPE:
        raise CheckError(f"the payload's type is {payload_type[:80]!r}, not '{PAYLOAD_TYPE}'", where=where)
    try:
        read = _Statement.model_validate(parse(payload))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        raise CheckError(f"not SLSA provenance: {key}: {first['msg']}", where=where) from error
    except (ValueError, RecursionError) as error:
        raise CheckError(f"not an in-toto statement: {error}", where=where) from error
    subject, ident = read.subject[0], manifest.id()
    name = f"{manifest.name}@{manifest.version}"
    if subject.digest.get("sha256") != ident or subject.name != name:
        said = f"{subject.name[:80]!r} with the id {subject.digest.get('sha256', 'of no sha256')[:64]}"
        raise CheckError(f"it is signed for another bundle: {said}, not '{name}' with {ident}", where=where)
    return read.predicate.runDetails.builder.id


def _file(file: File) -> dict[str, Any]:
    return {"name": file.path, "digest": {"sha256": file.sha256}, "mediaType": file.mediaType}


def _sources(manifest: Manifest, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The checkout, if the build was of exactly a commit; model, data and the bundles it is made from.

    A "-dirty" revision stands in the internal parameters only: as a git digest it would say that the commit
    was what was built.
    """
    revision = manifest.source.revision or ""
    found: list[dict[str, Any]] = []
    if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", revision):
        checkout: dict[str, Any] = {"name": "source", "digest": {"gitCommit": revision}}
        if run.get("commit") == revision and run.get("repository"):
            checkout["uri"] = f"git+{run['repository']}"
        found.append(checkout)
    found += [_file(f) for f in manifest.files if f.role in ("model", "data")]
    found += [{"name": "parent", "digest": {"sha256": parent}} for parent in manifest.parents]
    return found


def _tools(manifest: Manifest) -> list[dict[str, Any]]:
    return [{"name": name, "uri": package_url(name, v)} for name, v in manifest.toolchain.items()]


def package_url(name: str, version: str) -> str:
    """A tool as a package URL (https://github.com/package-url/purl-spec), percent-encoded."""
    from urllib.parse import quote

    kind = "generic" if name in NOT_PYPI else "pypi"
    return f"pkg:{kind}/{quote(name, safe='')}@{quote(version, safe='')}"


def _run(environment: Mapping[str, str]) -> dict[str, Any]:
    """What CI says of itself. Only variables that are listed above are read: others may be secrets."""
    get = environment.get
    if get("GITHUB_ACTIONS") == "true":
        server, repository = get("GITHUB_SERVER_URL", "https://github.com"), get("GITHUB_REPOSITORY", "")
        run, attempt = get("GITHUB_RUN_ID"), get("GITHUB_RUN_ATTEMPT", "1")
        workflow = get("GITHUB_WORKFLOW_REF")
        return {
            "service": "github",
            "parameters": {key: environment[key] for key in GITHUB if key in environment},
            "builder": f"{server}/{workflow}" if workflow else None,
            "invocation": f"{server}/{repository}/actions/runs/{run}/attempts/{attempt}" if run else None,
            "repository": f"{server}/{repository}" if repository else None,
            "commit": get("GITHUB_SHA"),
        }
    if get("GITLAB_CI") == "true":
        server, project = get("CI_SERVER_URL", "https://gitlab.com"), get("CI_PROJECT_PATH", "")
        runner = get("CI_RUNNER_ID")
        return {
            "service": "gitlab",
            "parameters": {key: environment[key] for key in GITLAB if key in environment},
            "builder": f"{server}/{project}/-/runners/{runner}" if runner else None,
            "invocation": get("CI_JOB_URL"),
            "repository": f"{server}/{project}" if project else None,
            "commit": get("CI_COMMIT_SHA"),
        }
    return {}
