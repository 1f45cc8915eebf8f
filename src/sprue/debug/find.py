"""From a variant to the first tensor in which it leaves the reference, and a piece that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto

from sprue.debug import cut
from sprue.debug.observe import Observer, Seen, Tensors
from sprue.debug.search import First, bisect, first_exposed, smallest


@dataclass(frozen=True)
class Piece:
    """The smallest piece of the network that shows the fault: what it takes, and how many nodes it has."""

    takes: tuple[str, ...]
    nodes: tuple[str, ...]
    seen: Seen


@dataclass(frozen=True)
class Found:
    """What a search came to.

    `first` is None where no tensor leaves its tolerance; `used` is then the largest share of it that the
    tensor `closest` takes. `node` is the first tensor's node, with its op. `hidden` says why the artifact's
    tensors could not be looked at all at once. `piece` is None when even all of the network up to the tensor
    is right by itself.
    """

    first: First | None
    seen: Seen | None
    reference: Tensors
    node: str = ""
    piece: Piece | None = None
    closest: str = ""
    used: float = 0.0
    hidden: str = ""


def find(observer: Observer) -> Found:
    """Raises CheckError when the float network itself cannot be looked into."""
    model, reference = observer.model(), observer.reference()
    names = [n for n in cut.compared(model) if n in reference]
    pieces: dict[str, Seen] = {}

    def prefix(name: str) -> Seen:
        if name not in pieces:
            takes = cut.before(model, name, cut.ALL, reference)
            pieces[name] = observer.piece(takes, name, reference)
        return pieces[name]

    whole = observer.exposed((), reference)
    wrong = isinstance(whole, str) or any(seen.bad for seen in whole.values())
    looked = observer.exposed(names, reference)
    hidden = looked if isinstance(looked, str) else ""
    tensors: Mapping[str, Seen] = {} if isinstance(looked, str) else looked
    first = first_exposed([n for n in names if n in tensors], lambda n: tensors[n].bad)
    shown = any(tensors[n].bad for n in whole if n in tensors) if isinstance(whole, dict) else False
    if wrong and (first is None or not shown):
        first = bisect(names, lambda n: prefix(n).bad) or first
    if first is None:
        used = {n: s.agreement.used for n, s in tensors.items() if s.agreement is not None}
        closest = max(used, key=lambda n: used[n], default="")
        return Found(None, None, reference, closest=closest, used=used.get(closest, 0.0), hidden=hidden)
    seen = tensors[first.tensor] if first.method == "exposed" else prefix(first.tensor)
    maker = next(n for n in model.graph.node if first.tensor in n.output)
    piece = _shrunk(model, first.tensor, observer, reference)
    return Found(first, seen, reference, f"{maker.name} ({maker.op_type})", piece, hidden=hidden)


def _shrunk(model: ModelProto, gives: str, observer: Observer, reference: Tensors) -> Piece | None:
    seen: dict[tuple[str, ...], Seen] = {}

    def look(takes: tuple[str, ...]) -> bool:
        if takes not in seen:
            seen[takes] = observer.piece(takes, gives, reference)
        return seen[takes].bad

    takes = smallest(lambda levels: cut.before(model, gives, levels, reference), look)
    if not look(takes):
        return None
    return Piece(takes, cut.between(model, takes, gives), seen[takes])
