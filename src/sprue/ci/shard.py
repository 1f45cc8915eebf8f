"""What one job leaves behind: its parts in the registry, by digest and without a ref, and a record of them.

A part is a bundle of a recipe's targets that this job built, with all that any bundle has. Beside it lie the
outputs of the kept artifacts, which only the comparison of all targets needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprue.build import Build
from sprue.bundle.check import read_bundle_manifest
from sprue.bundle.manifest import Manifest
from sprue.ci.shard_file import SCHEMA, Blob, Failed, Part, ShardFile
from sprue.engine.cache import Cache
from sprue.registry.protocol import Descriptor, Registry
from sprue.registry.publish import pack_folder, push
from sprue.registry.transfer import put_missing

OUTPUTS = "application/vnd.numpy.npz"

Connect = Callable[[str], AbstractContextManager[Registry]]


@dataclass(frozen=True)
class Job:
    """Which job this is: number `number` of `of` for these targets."""

    targets: tuple[str, ...]
    number: int
    of: int


def push_shard(
    job: Job,
    built: Sequence[Build],
    summaries: Mapping[Path, Mapping[str, Any]],
    cache: Cache,
    place: str,
    connect: Connect,
) -> ShardFile:
    """Push what was built below the URL `place`, and say what was pushed, and what could not be built.

    `summaries`: of every recipe of the job, by its path. Raises CheckError when a registry does not take it.
    """
    parts = []
    for build in built:
        bundle = summaries[build.recipe.path]["bundle"]
        if bundle is not None:
            folder = Path(bundle["folder"])
            with connect(f"{place}/{build.recipe.name}") as registry:
                parts.append(_push(build, read_bundle_manifest(folder), folder, cache, registry))
    return ShardFile(
        schema=SCHEMA,
        target=",".join(job.targets),
        shard=job.number,
        of=job.of,
        place=place,
        parts=parts,
        failed=[_failed(s, job.targets) for s in summaries.values() if not s["ok"]],
    )


def _push(build: Build, manifest: Manifest, folder: Path, cache: Cache, registry: Registry) -> Part:
    """Push a bundle that was just frozen in `folder`, and what parity needs of its build."""
    image = pack_folder(folder, manifest)
    push(image, folder, registry)
    reference = _push_outputs(build, build.plan.reference, cache, registry)
    outputs = {}
    for target in build.targets:
        assert target.kept is not None
        verify = target.kept.planned.verify
        outputs[target.choice.target.id] = _push_outputs(build, verify, cache, registry)
    entries = [o.entry for o in build.outcomes.values() if o.entry is not None]
    return Part(
        name=manifest.name,
        version=manifest.version,
        recipe=manifest.recipe,
        revision=manifest.source.revision,
        targets=[t.id for t in manifest.targets],
        bundle=manifest.id(),
        index=image.index[0].sha256,
        reference=reference,
        outputs=outputs,
        toolchain=manifest.toolchain,
        seconds=round(sum(entry.seconds for entry in entries), 3),
    )


def _failed(summary: Mapping[str, Any], targets: tuple[str, ...]) -> Failed:
    """The record of a recipe that was not built, from its summary."""
    reasons = [
        f"{t['target']}: {v['variant']}: {v['reason']}"
        for t in summary["targets"]
        for v in t["variants"]
        if v["broken"] or (t["kept"] is None and v["state"] == "failed")
    ]
    if (gate := summary["gate"]) is not None:
        reasons += [f"worse than {gate['against']}: {reason}" for reason in gate["reasons"]]
    error = summary["error"]
    return Failed(
        name=summary["recipe"],
        targets=[t["target"] for t in summary["targets"]] or list(targets),
        why=error["what"] if error is not None else "; ".join(reasons),
    )


def _push_outputs(build: Build, action: str, cache: Cache, registry: Registry) -> Blob:
    entry = build.outcomes[action].entry
    assert entry is not None
    sha = entry.files["outputs.npz"]
    file = cache.blob(sha)
    what = Descriptor(OUTPUTS, sha, file.stat().st_size)
    put_missing(registry, what, file)
    return Blob(sha256=sha, size=what.size)
