"""The last job: every part fetched and proven, one bundle of them, published as its version.

All recipes are put together before the first is published, so what is wrong with one is known in time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sprue.bundle.manifest import Manifest
from sprue.bundle.store import Store
from sprue.ci.gather import Claim, Gathered, gather, strangers
from sprue.ci.matrix_file import MatrixFile
from sprue.ci.merge import Arrived, merge
from sprue.ci.shard import OUTPUTS, Connect
from sprue.ci.shard_file import Blob, ShardFile
from sprue.errors import CheckError
from sprue.registry.protocol import Descriptor, Registry, Taken
from sprue.registry.publish import publish
from sprue.registry.pull import find, pull_bundle
from sprue.registry.transfer import fetch
from sprue.trust.signature import envelopes

Sign = Callable[[Path], object]


@dataclass(frozen=True)
class Sealed:
    """A recipe's bundle. `new`: it was published now; `index`: the sha256 of its OCI index."""

    name: str
    version: str
    id: str
    folder: Path
    index: str
    new: bool


@dataclass(frozen=True)
class Outcome:
    """`problems`: what is wrong, a line each; empty if all is well. `left`: see `skip_published`."""

    sealed: tuple[Sealed, ...]
    left: tuple[str, ...]
    problems: tuple[str, ...]


def seal(
    matrix: MatrixFile,
    shards: Sequence[ShardFile],
    place: str,
    connect: Connect,
    store: Store,
    *,
    keep_going: bool = False,
    skip_published: bool = False,
    sign: Sign | None = None,
) -> Outcome:
    """Publish the bundles of all recipes of the matrix; none if anything is wrong with one of them.

    `place`: the URL below which each bundle goes by its name. `keep_going`: publish those that are right.
    `skip_published`: a version that means another bundle already is left as it is, and no problem.
    `sign`: puts a signature beside the bundle in a folder; always the same one.
    """
    gathered = gather(matrix, shards, place)
    problems = [*strangers(matrix, shards), *(p for g in gathered for p in g.problems)]
    sealed: list[Sealed] = []
    left: list[str] = []
    with ExitStack() as stack:
        made: list[tuple[Manifest, Path]] = []
        for parts in gathered:
            if parts.problems or (problems and not keep_going):
                continue
            folder = stack.enter_context(store.staging()) / "bundle"
            try:
                with connect(f"{place}/{parts.recipe.name}") as registry:
                    made.append((_put_together(parts, registry, store, folder), folder))
                if sign is not None:
                    sign(folder)
            except CheckError as error:
                problems.append(f"{parts.recipe.name}: {error}")
        for manifest, folder in made if keep_going or not problems else ():
            try:
                with connect(f"{place}/{manifest.name}") as registry:
                    done = publish(folder, registry, envelopes(folder))
                kept = store.keep(folder, manifest)
                if sign is not None:
                    sign(kept)
                index = done.index.sha256
                sealed.append(Sealed(manifest.name, manifest.version, manifest.id(), kept, index, done.new))
            except Taken as error:
                (left if skip_published else problems).append(f"{manifest.name}: {error}")
            except CheckError as error:
                problems.append(f"{manifest.name}: {error}")
    return Outcome(tuple(sealed), tuple(left), tuple(problems))


def _put_together(parts: Gathered, registry: Registry, store: Store, folder: Path) -> Manifest:
    """Fetch the parts of a recipe, and merge them into `folder`. Raises CheckError."""
    with store.staging() as work:
        arrived: dict[str, Arrived] = {}
        for number, claim in enumerate(_once(parts.claims)):
            part = _fetch(claim, registry, work / str(number))
            arrived |= dict.fromkeys(claim.part.targets, part)
        folder.mkdir()
        return merge({target: arrived[target] for target in parts.recipe.targets}, folder)


def _once(claims: Mapping[str, Claim]) -> list[Claim]:
    return list({claim.part.bundle: claim for claim in claims.values()}.values())


def _fetch(claim: Claim, registry: Registry, work: Path) -> Arrived:
    """A part, every byte of it proven. Raises CheckError, also when it is not what its record says."""
    part = claim.part
    found = find(registry, f"sha256:{part.index}")
    manifest = found.manifest
    said = (part.bundle, part.name, part.version, part.recipe, part.revision, part.targets, part.toolchain)
    targets = [t.id for t in manifest.targets]
    source = manifest.source.revision
    there = (manifest.id(), manifest.name, manifest.version, manifest.recipe, source, targets)
    foreign = {f.target for f in manifest.files} - {None, *targets} or part.outputs.keys() != set(targets)
    if foreign or said != (*there, manifest.toolchain):
        raise CheckError(
            f"the record of '{claim.job}' does not say what was pushed", remedy="run that job again"
        )
    received = pull_bundle(registry, found, Store(work / "store"))
    outputs = {t: _fetch_outputs(registry, part.outputs[t], work / f"{t}.npz") for t in part.targets}
    reference = _fetch_outputs(registry, part.reference, work / "reference.npz")
    return Arrived(claim.job, received.folder, manifest, reference, outputs)


def _fetch_outputs(registry: Registry, blob: Blob, path: Path) -> Path:
    fetch(registry, Descriptor(OUTPUTS, blob.sha256, blob.size), path)
    return path
