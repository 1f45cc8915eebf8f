"""CLINC150, as much of it as one chatbot needs: some of its intents, in its own splits.

S. Larson et al., "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction", EMNLP 2019,
CC BY 3.0. Read from `$SPRUE_DATA/clinc150`; never copied into the repository.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Split:
    """Texts, and the class of each."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Corpus:
    """One chatbot's data: train on `training`, tune on `validation`, say `test` once.

    `strange` and `strange_validation` are CLINC150's out-of-scope queries: they belong to no intent at all.
    """

    intents: tuple[str, ...]
    training: Split
    validation: Split
    test: Split
    strange_validation: tuple[str, ...]
    strange: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """The data set as its files have it: split -> (text, intent) pairs, domain -> intents."""

    splits: dict[str, list[tuple[str, str]]]
    domains: dict[str, list[str]]

    @property
    def intents(self) -> list[str]:
        """All 150, sorted."""
        return sorted(intent for intents in self.domains.values() for intent in intents)


def read() -> Source:
    """Raises FileNotFoundError when the data set is not there."""
    given = os.environ.get("SPRUE_DATA")
    data = Path(given) if given else PROJECT.parent / "shared" / "data"
    folder = data / "clinc150"
    if not (folder / "data_full.json").is_file():
        raise FileNotFoundError(f"CLINC150 is not in {data}; set SPRUE_DATA to the folder that holds it")
    pairs = json.loads((folder / "data_full.json").read_text("utf-8"))
    splits = {name: [(text, intent) for text, intent in split] for name, split in pairs.items()}
    return Source(splits, json.loads((folder / "domains.json").read_text("utf-8")))


def domain(source: Source, name: str) -> list[str]:
    """The intents of one domain. Raises ValueError for one that is not there."""
    if name not in source.domains:
        raise ValueError(f"CLINC150 has no domain '{name}'; it has {', '.join(sorted(source.domains))}")
    return sorted(source.domains[name])


def sample(source: Source, count: int, seed: int) -> list[str]:
    """`count` of the intents, drawn with a seed. Raises ValueError when there are not so many."""
    if not 2 <= count <= len(source.intents):
        raise ValueError(f"a chatbot has 2 to {len(source.intents)} intents, not {count}")
    return sorted(random.Random(seed).sample(source.intents, count))


def select(source: Source, intents: Sequence[str]) -> Corpus:
    """The corpus of these intents; their order is that of the classes."""
    number = {intent: i for i, intent in enumerate(intents)}

    def split(name: str) -> Split:
        kept = [(text, number[intent]) for text, intent in source.splits[name] if intent in number]
        return Split(tuple(text for text, _ in kept), tuple(label for _, label in kept))

    def strange(name: str) -> tuple[str, ...]:
        return tuple(text for text, _ in source.splits[name])

    return Corpus(
        tuple(intents),
        split("train"),
        split("val"),
        split("test"),
        strange("oos_val"),
        strange("oos_test"),
    )


def shortened(corpus: Corpus, count: int) -> Corpus:
    """The first `count` texts of each intent in every split, and of the out-of-scope queries."""
    return Corpus(
        corpus.intents,
        _first(corpus.training, count),
        _first(corpus.validation, count),
        _first(corpus.test, count),
        corpus.strange_validation[:count],
        corpus.strange[:count],
    )


def _first(split: Split, count: int) -> Split:
    seen: Counter[int] = Counter()
    kept = []
    for text, label in zip(split.texts, split.labels, strict=True):
        seen[label] += 1
        if seen[label] <= count:
            kept.append((text, label))
    return Split(tuple(text for text, _ in kept), tuple(label for _, label in kept))
