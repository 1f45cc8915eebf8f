"""Indices, manifests and refs that strangers wrote: what they name, and nothing else of them.

Fields that we do not know are no business of ours (OCI demands that), but duplicate keys, wrong types,
depth and size are refused.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sprue.canonical import canonical, parse
from sprue.registry.protocol import Descriptor, Registry, Wrong
from sprue.registry.transfer import read_small

MOST_MANIFESTS = 1000
MOST_LAYERS = 200_000


Form = TypeVar("Form", bound=BaseModel)


class Entry(BaseModel):
    """A descriptor as a stranger wrote it. Unknown fields are no business of ours."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    mediaType: str = Field(max_length=255)  # noqa: N815  # OCI's own spelling
    digest: str = Field(pattern="^sha256:[0-9a-f]{64}$")
    size: int = Field(ge=0, le=2**40)
    annotations: dict[str, str] = {}

    def descriptor(self) -> Descriptor:
        return Descriptor(self.mediaType, self.digest.removeprefix("sha256:"), self.size, self.annotations)


class _Index(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    manifests: list[Entry] = Field(max_length=MOST_MANIFESTS)


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    layers: list[Entry] = Field(max_length=MOST_LAYERS)


def read_index(registry: Registry, what: Descriptor) -> list[Descriptor]:
    """The manifests that an index names. Raises Wrong for what is no index."""
    return [entry.descriptor() for entry in _read(_Index, registry, what).manifests]


def read_layers(registry: Registry, what: Descriptor) -> list[Descriptor]:
    """Raises Wrong for what is no manifest."""
    return [layer.descriptor() for layer in _read(_Manifest, registry, what).layers]


def to_json(what: Descriptor) -> dict[str, Any]:
    """A descriptor as OCI spells it."""
    made: dict[str, Any] = {
        "mediaType": what.media_type,
        "digest": f"sha256:{what.sha256}",
        "size": what.size,
    }
    return {**made, "annotations": dict(what.annotations)} if what.annotations else made


def ref_to_bytes(what: Descriptor) -> bytes:
    """What a ref means, as files keep it: one line of canonical JSON."""
    return canonical(to_json(Descriptor(what.media_type, what.sha256, what.size)))


def read_ref(data: bytes, where: str) -> Descriptor:
    """Raises Wrong for what `ref_to_bytes` would not write."""
    return _parse(Entry, data, where).descriptor()


def _read(form: type[Form], registry: Registry, what: Descriptor) -> Form:
    return _parse(form, read_small(registry, what), what.short)


def _parse(form: type[Form], data: bytes, where: str) -> Form:
    try:
        return form.model_validate(parse(data))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        raise Wrong(f"not what it should be: {key}: {first['msg']}", where=where) from error
    except (ValueError, RecursionError) as error:
        raise Wrong(f"not what it should be: {str(error)[:200]}", where=where) from error
