"""A recipe: one model, the targets to build it for, and what is acceptable. `recipes/<name>.toml`.

`RecipeFile` is what a person writes; lists mean alternatives. `Recipe` is the effective recipe: `extends` and
the targets' own values merged in, every default filled in, and for each value the place that it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from sprue.choosing.candidates import WANTED, Space, Wanted, refuse_impossible
from sprue.errors import SprueError, did_you_mean
from sprue.history.allowance import Gate, GateFile
from sprue.judging.certainty import LEVELS
from sprue.measuring.price import Price, read_prices
from sprue.model import Model, load_model
from sprue.quantity import parse_duration
from sprue.recipe_files import read_recipe
from sprue.target import Target, read_target, refuse_name
from sprue.target_file import LimitFile, Strict
from sprue.toml import Document, Key, read_toml, validate
from sprue.variant import OPTIMIZATIONS, SETTINGS, BorderType, Optimization, Variant

Preference = Literal["latency", "size", "metric", "cost"]

SYNONYMS = {"int8": "int8-static"}
DEFAULT_MAX_DROP = 0.01


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _as_precisions(value: object) -> object:
    return [
        SYNONYMS.get(v, v) if isinstance(v, str) else v
        for v in (value if isinstance(value, list) else [value])
    ]


def _one_or_more(item: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [item, {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}]}
    )


Backends = Annotated[
    list[str], Field(min_length=1), BeforeValidator(_as_list), _one_or_more({"type": "string"})
]
Precisions = Annotated[
    list[Wanted],
    Field(min_length=1),
    BeforeValidator(_as_precisions),
    _one_or_more({"enum": [*WANTED, *SYNONYMS]}),
]
Threads = Annotated[
    list[Annotated[int, Field(ge=1, le=1024)]],
    Field(min_length=1),
    BeforeValidator(_as_list),
    _one_or_more({"type": "integer", "minimum": 1, "maximum": 1024}),
]
Switches = Annotated[
    list[bool], Field(min_length=1), BeforeValidator(_as_list), _one_or_more({"type": "boolean"})
]
Optimizations = Annotated[
    list[Optimization],
    Field(min_length=1),
    BeforeValidator(_as_list),
    _one_or_more({"enum": [*OPTIMIZATIONS]}),
]
Shares = Annotated[
    list[Annotated[float, Field(gt=0, lt=1)]],
    Field(min_length=1),
    BeforeValidator(_as_list),
    _one_or_more({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]
Counts = Annotated[
    list[Annotated[int, Field(ge=2, le=65536)]],
    Field(min_length=1),
    BeforeValidator(_as_list),
    _one_or_more({"type": "integer", "minimum": 2, "maximum": 65536}),
]
Duration = Annotated[
    float,
    BeforeValidator(lambda text: parse_duration(text) if isinstance(text, str) else text),
    Field(gt=0, allow_inf_nan=False),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "examples": ["5 min"]}]}
    ),
]


Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _level(value: float) -> float:
    if value not in LEVELS:
        raise ValueError(f"one of {', '.join(f'{level:g}' for level in LEVELS)}")
    return value


Confidence = Annotated[float, AfterValidator(_level), WithJsonSchema({"enum": [*LEVELS]})]


class AcceptFile(Strict):
    """`[accept]`, measured on the saved artifact. The tolerances override what the precision implies."""

    max_drop: Amount | None = Field(None, description="of the model's metric, against the float reference")
    confidence: Confidence | None = Field(
        None,
        description="demand that the drop be at most max_drop with this confidence, not only as measured",
    )
    atol: Amount | None = Field(None, description="output tolerance: absolute")
    rtol: Amount | None = Field(None, description="output tolerance: relative to the reference's output")
    steps: Amount | None = Field(None, description="output tolerance: in int8 steps of the output's range")


class ChoiceFile(Strict):
    """`[target.<id>]`."""

    backend: Backends | None = Field(None, description="candidates; default: the target's first backend")
    precision: Precisions | None = Field(None, description='candidates; default: "float32"')
    prefer: Preference | None = Field(None, description='of those that pass; default: "latency"')
    threads: Threads | None = Field(None, description="of the runtime; default: 1")
    spinning: Switches | None = Field(None, description="threads wait without sleeping; default: false")
    optimization: Optimizations | None = Field(
        None, description='of the graph, by the runtime while it loads; default: "all"'
    )
    border: BorderType | None = Field(
        None, description="int8: integers in and out, where the graph quantizes"
    )
    prune: Shares | None = Field(None, description="of the channels; tried beside the whole network")
    sparsity: Shares | None = Field(None, description="of the weights set to zero; tried beside none")
    cluster: Counts | None = Field(None, description="values a weight tensor may hold; tried beside all")
    accept: AcceptFile | None = None
    gate: GateFile | None = None
    limit: LimitFile | None = None


class SearchFile(Strict):
    """`[search]`: try a part of what the lists multiply out to, chosen by what earlier trials showed."""

    budget: Duration = Field(description='seconds that the trials\' steps may take together, such as "5 min"')
    trials: int | None = Field(None, ge=1, le=100_000, description="at most so many for each target")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of what is random in the choice of trials")


class RecipeFile(Strict):
    """`recipes/<name>.toml`."""

    extends: str | None = Field(None, description="a recipe to take values from; it may not extend another")
    model: str | None = Field(None, description="the name of a folder in models/")
    version: str | None = Field(
        None, pattern=r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$", description="of the bundle", examples=["1.4.0"]
    )
    prices: str | None = Field(None, description="a price file, relative to the recipe")
    accept: AcceptFile | None = None
    gate: GateFile | None = None
    search: SearchFile | None = None
    target: dict[str, ChoiceFile] = Field(default_factory=dict, description="targets to build for, by id")


@dataclass(frozen=True)
class Accept:
    """What a variant must keep. `None` in a tolerance: as the precision implies, see verify.py; in
    `confidence`: the drop as measured decides.
    """

    max_drop: float
    atol: float | None = None
    rtol: float | None = None
    steps: float | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Choice:
    """What a recipe wants for one target: candidates, and how to choose among those that pass.

    `variants` are those that the recipe names; what `space` leaves open is found while building. `only`: of
    those found, leave out what has another name (empty: nothing).
    """

    target: Target
    variants: tuple[Variant, ...]
    accept: Accept
    prefer: Preference
    space: Space
    only: tuple[str, ...] = ()
    gate: Gate = field(default_factory=Gate)
    price: Price | None = None


@dataclass(frozen=True)
class Search:
    """`budget` in seconds, of the steps of a target's trials together; `trials`: None for any number."""

    budget: float
    trials: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """The effective recipe. `origins`: dotted key -> (value, place it came from), for `show --resolved`.

    `files`: every TOML file that it was made of, with the sha256 that it had. `partial`: some targets or
    variants were left out.
    """

    name: str
    version: str
    path: Path
    project: Path
    model: Model
    choices: tuple[Choice, ...]
    origins: Mapping[str, tuple[Any, str]]
    base: Path | None = None
    files: Mapping[Path, str] = field(default_factory=dict)
    partial: bool = False
    search: Search | None = None

    def only(self, targets: tuple[str, ...] = (), variants: tuple[str, ...] = ()) -> Recipe:
        """The recipe with only the named targets and variants. Raises SprueError for an unknown name."""
        ids = [c.target.id for c in self.choices]
        for name in targets:
            if name not in ids:
                raise SprueError(
                    f"the recipe has no target '{name}'", where=str(self.path), remedy=did_you_mean(name, ids)
                )
        chosen = [c for c in self.choices if not targets or c.target.id in targets]
        known = {v.id for c in chosen for v in c.variants}
        known |= {f"{v.backend}-int8-mixed" for c in chosen if c.space.mixes for v in c.variants}
        found_later = any(c.space.auto for c in chosen)
        for name in variants:
            if name not in known and not found_later:
                raise SprueError(
                    f"the recipe has no variant '{name}'",
                    where=str(self.path),
                    remedy=did_you_mean(name, known),
                )
        if variants:
            kept = [replace(c, variants=tuple(v for v in c.variants if v.id in variants)) for c in chosen]
            kept = [replace(c, only=variants) for c in kept]
            chosen = [c for c in kept if c.variants or c.space.auto or c.space.mixes]
        partial = self.partial or tuple(chosen) != self.choices
        return replace(self, choices=tuple(chosen), partial=partial)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe, what it extends, its model and targets. Raises SprueError naming file, line, key."""
    values, documents = _layers(path)
    refuse_name(path.stem, "recipe", path)
    project, model = _find_model(path, values)
    targets = sorted({key[1] for key in values if key[0] == "target"}, key=lambda t: _order(values, t))
    if not targets:
        raise SprueError(
            "the recipe names no target", where=str(path), remedy="add a table such as [target.server-cpu]"
        )
    origins: dict[str, tuple[Any, str]] = {"model": values[("model",)]}
    version, _ = origins["version"] = values.get(("version",), ("0.1.0", "default"))
    read = {t: read_target(t, project, where=values[("target", t)][1]) for t in targets}
    choices = tuple(_choice(read[t][0], values, origins) for t in targets)
    base = documents[1].path if len(documents) > 1 else None
    documents += [model.document, *(document for _, document in read.values())]
    if ("prices",) in values:
        name, place = origins["prices"] = values[("prices",)]
        prices, document = read_prices(path.parent / name, where=place)
        documents.append(document)
        choices = tuple(replace(c, price=prices.get(c.target.id)) for c in choices)
    files = {d.path: d.sha256 for d in documents} | dict(model.files)
    search = _search(values, origins)
    return Recipe(path.stem, version, path, project, model, choices, origins, base, files, search=search)


Values = dict[Key, tuple[Any, str]]


def _layers(path: Path) -> tuple[Values, list[Document]]:
    """Key path -> (value, place), the extended recipe's first, overridden key by key; and the files read."""
    document = read_recipe(path)
    file = validate(RecipeFile, document)
    values: Values = {}
    documents = [document]
    if file.extends is not None:
        base_path = path.parent / file.extends
        if not base_path.is_file():
            there = [p.name for p in path.parent.glob("*.toml") if p != path]
            raise SprueError(
                f"there is no recipe '{file.extends}' in {path.parent}",
                where=document.place(["extends"]),
                remedy=did_you_mean(file.extends, there),
            )
        base_document = read_toml(base_path)
        base = validate(RecipeFile, base_document)
        if base.extends is not None:
            raise SprueError(
                f"'{file.extends}' extends '{base.extends}' itself; only one level is allowed",
                where=base_document.place(["extends"]),
                remedy=f"let {path.name} extend {base.extends}, or put the values into one file",
            )
        documents.append(base_document)
        values |= _flatten(base, base_document)
    return values | _flatten(file, document), documents


def _flatten(file: RecipeFile, document: Document) -> Values:
    data = file.model_dump(exclude={"extends"}, exclude_none=True)
    found: Values = {}

    def walk(value: Any, key: Key) -> None:
        if isinstance(value, dict) and (value or len(key) == 2):
            found.update({key: (None, document.place(key))} if len(key) == 2 and key[0] == "target" else {})
            for name, inner in value.items():
                walk(inner, (*key, name))
        elif not isinstance(value, dict):
            found[key] = value, document.place(key)

    walk(data, ())
    return found


def _order(values: Values, target: str) -> int:
    return list(values).index(("target", target))


def _find_model(path: Path, values: Values) -> tuple[Path, Model]:
    if ("model",) not in values:
        raise SprueError(
            "the key 'model' is missing", where=str(path), remedy='add a line such as model = "digits"'
        )
    name, place = values[("model",)]
    seen: list[str] = []
    for project in path.resolve().parents:
        folder = project / "models"
        if Path(name).name == name not in ("", "..") and (folder / name / "model.toml").is_file():
            return project, load_model(folder / name)
        if folder.is_dir():
            seen += [p.parent.name for p in folder.glob("*/model.toml")]
    none = "a model is a folder with a model.toml, models/NAME/ beside recipes/"
    raise SprueError(f"there is no model '{name}'", where=place, remedy=did_you_mean(name, seen, none=none))


def _choice(target: Target, values: Values, origins: dict[str, tuple[Any, str]]) -> Choice:
    name = target.id

    def pick(key: str, default: Any, default_place: str = "default") -> Any:
        shared = values.get(tuple(key.split("."))) if key.startswith(("accept.", "gate.")) else None
        found = values.get(("target", name, *key.split("."))) or shared or (default, default_place)
        if found[0] is not None:
            origins[f"target.{name}.{key}"] = found
        return found[0]

    def origin(key: str) -> str:
        return origins.get(f"target.{name}.{key}", ("", ""))[1]

    backends = pick("backend", [target.backends[0]], f"targets/{name}.toml")
    precisions = pick("precision", ["float32"])
    space = Space(
        tuple(backends),
        tuple(precisions),
        (0.0, *(pick("prune", None) or ())),
        (0.0, *(pick("sparsity", None) or ())),
        (0, *(pick("cluster", None) or ())),
        tuple(pick("threads", [1])),
        tuple(pick("spinning", None) or [False]),
        tuple(pick("optimization", None) or ["all"]),
        pick("border", None) or "float32",
    )
    refuse_impossible(target, space, {k: origin(k) for k in ("backend", "precision", "border", *SETTINGS)})
    limits = {}
    for key, limit in (("ram", target.limit_ram), ("flash", target.limit_flash)):
        limits[key] = pick(f"limit.{key}", limit, f"targets/{name}.toml")
        if limit is not None and limits[key] > limit:
            raise SprueError(
                f"limit.{key} is {limits[key]} bytes, but target '{name}' has only {limit}",
                where=origin(f"limit.{key}"),
                remedy="a recipe may lower a target's limit, not raise it",
            )
    target = replace(target, limit_ram=limits["ram"], limit_flash=limits["flash"])
    prefer = pick("prefer", get_args(Preference)[0])
    accept = Accept(
        pick("accept.max_drop", DEFAULT_MAX_DROP),
        *(pick(f"accept.{k}", None) for k in ("atol", "rtol", "steps", "confidence")),
    )
    gate = Gate(**{f.name: pick(f"gate.{f.name}", f.default) for f in fields(Gate)})
    return Choice(target, space.variants(target), accept, prefer, space, gate=gate)


def _search(values: Values, origins: dict[str, tuple[Any, str]]) -> Search | None:
    found = {key[1]: value for key, value in values.items() if key[0] == "search"}
    if not found:
        return None
    origins.update({f"search.{key}": value for key, value in found.items()})
    return Search(**{key: value for key, (value, _) in found.items()})
