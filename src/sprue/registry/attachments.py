"""Signatures, attached to what they are about: OCI 1.1 referrers under their fallback tag, in every registry.

The ref `sha256-<digest of the index>` means an index of manifests; each has the index as its `subject` and
one DSSE envelope as its layer. docker-registry 2.8 has no referrers API; one that has it finds the same
manifests by their subject. The ref grows: who adds to it says what it meant before, and looks again if it
means more now.
"""

from __future__ import annotations

from collections.abc import Sequence

from sprue.canonical import canonical
from sprue.registry.documents import read_index, read_layers, to_json
from sprue.registry.protocol import INDEX, MANIFEST, Descriptor, Registry, Taken, describe
from sprue.registry.transfer import put_missing, read_small

ENVELOPE = "application/vnd.dsse.envelope.v1+json"
EMPTY = describe("application/vnd.oci.empty.v1+json", b"{}")
MOST_SIGNATURES = 100
MOST_ENVELOPE = 4 << 20
ATTEMPTS = 20


def attached(registry: Registry, subject: Descriptor) -> list[bytes]:
    """The envelopes attached to `subject`, at most MOST_SIGNATURES; nothing in them is verified."""
    there = registry.resolve(_ref(subject))
    found = []
    for what in read_index(registry, there)[:MOST_SIGNATURES] if there else []:
        layers = read_layers(registry, what)
        found += [read_small(registry, x, MOST_ENVELOPE) for x in layers[:1] if x.media_type == ENVELOPE]
    return found


def attach(registry: Registry, subject: Descriptor, envelopes: Sequence[bytes]) -> int:
    """Attach what is not attached yet; how many that were. Raises Taken if others never stop attaching."""
    made = [_manifest(subject, envelope) for envelope in envelopes]
    for _ in range(ATTEMPTS):
        before = registry.resolve(_ref(subject))
        there = read_index(registry, before) if before else []
        new = [m for m in made if m[1] not in there]
        if not new:
            return 0
        for envelope, what, data in new:
            put_missing(registry, EMPTY, b"{}")
            put_missing(registry, envelope[0], envelope[1])
            registry.put(what, data)
        index = _index([*there, *(what for _, what, _ in new)])
        registry.put(describe(INDEX, index), index)
        try:
            registry.commit(_ref(subject), describe(INDEX, index), instead_of=before)
        except Taken:
            continue
        return len(new)
    raise Taken(_ref(subject), before, "signatures")


def _ref(subject: Descriptor) -> str:
    return f"sha256-{subject.sha256}"


def _manifest(subject: Descriptor, envelope: bytes) -> tuple[tuple[Descriptor, bytes], Descriptor, bytes]:
    layer = describe(ENVELOPE, envelope)
    bare = Descriptor(subject.media_type, subject.sha256, subject.size)
    data = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ENVELOPE,
            "config": to_json(EMPTY),
            "layers": [to_json(layer)],
            "subject": to_json(bare),
        }
    )
    return (layer, envelope), describe(MANIFEST, data), data


def _index(manifests: Sequence[Descriptor]) -> bytes:
    return canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [to_json(m) for m in manifests]})
