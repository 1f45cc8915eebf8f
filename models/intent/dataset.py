"""The texts of the sample intent classifier: generated from `grammar.toml`.

Generated texts come with openings, closings and typing mistakes. A quarter of the evaluation texts come from
templates that no training text came from, so that accuracy says something about phrasings nobody foresaw.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent
SEED = 20261123
LENGTH = 16
"""Tokens of a text that the model sees."""
PADDING, UNKNOWN = 0, 1
TRAINING, EVALUATION = 3000, 500
UNFORESEEN = 0.25
"""Share of the evaluation texts that come from held-out templates."""


@dataclass(frozen=True)
class Grammar:
    """`grammar.toml`: openings and closings, the words of each slot, and per intent its templates by part."""

    affix: Mapping[str, Sequence[str]]
    slot: Mapping[str, Sequence[str]]
    intent: Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class Example:
    text: str
    intent: str


@dataclass(frozen=True)
class Corpus:
    """Texts of each split; no text is in two of them."""

    training: tuple[Example, ...]
    evaluation: tuple[Example, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The intents; the index of each is its class."""
        return tuple(sorted({e.intent for e in self.training}))


def generate(seed: int = SEED) -> Corpus:
    """The corpus of `grammar.toml`: the same for the same seed, on every machine."""
    rng = random.Random(seed)
    grammar = Grammar(**tomllib.loads((FOLDER / "grammar.toml").read_text("utf-8")))
    seen: set[str] = set()
    held_out = round(EVALUATION * UNFORESEEN)
    evaluation = [
        *_examples(grammar, "held_out", held_out, seen, rng),
        *_examples(grammar, "templates", EVALUATION - held_out, seen, rng),
    ]
    training = _examples(grammar, "templates", TRAINING, seen, rng)
    rng.shuffle(evaluation)
    rng.shuffle(training)
    return Corpus(tuple(training), tuple(evaluation))


def _examples(grammar: Grammar, part: str, count: int, seen: set[str], rng: random.Random) -> list[Example]:
    """`count` new examples, the intents in turn; adds what the model would see of each to `seen`."""
    made: list[Example] = []
    intents = sorted(grammar.intent)
    while len(made) < count:
        intent = intents[len(made) % len(intents)]
        text = _expand(rng.choice(grammar.intent[intent][part]), grammar.slot, rng)
        text = _with_noise(text, grammar.affix, rng)
        visible = " ".join(words(text)[:LENGTH])
        if visible not in seen:
            seen.add(visible)
            made.append(Example(text, intent))
    return made


def _expand(template: str, slots: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    text = re.sub(r"\(([^()]*)\)", lambda m: rng.choice(m[1].split("|")), template)
    text = re.sub(r"\{(\w+)\}", lambda m: rng.choice(slots[m[1]]), text)
    return " ".join(text.split())


def _with_noise(text: str, affix: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    if rng.random() < 0.3:
        text = f"{rng.choice(affix['opening'])} {text}"
    if rng.random() < 0.3:
        text = f"{text} {rng.choice(affix['closing'])}"
    return " ".join(_mistyped(w, rng) if rng.random() < 0.05 else w for w in text.split())


def _mistyped(word: str, rng: random.Random) -> str:
    """`word` with one letter dropped, doubled or swapped with the next; short words stay."""
    if len(word) < 4:
        return word
    at = rng.randrange(len(word) - 1)
    here, there = word[at], word[at + 1]
    return word[:at] + rng.choice([there, here + here + there, there + here]) + word[at + 2 :]


def words(text: str) -> list[str]:
    """Lower-case words and numbers: the whole tokenizer, so that a device can have it too."""
    return re.findall(r"[a-z]+|[0-9]+", text.lower().replace("'", ""))


def vocabulary(texts: Iterable[str], least: int = 2) -> tuple[str, ...]:
    """Padding, unknown, then every word that occurs `least` times: the most frequent first, ties by name."""
    counts = Counter(w for t in texts for w in words(t))
    kept = sorted((w for w, n in counts.items() if n >= least), key=lambda w: (-counts[w], w))
    return ("<padding>", "<unknown>", *kept)


def encode(texts: Iterable[str], known: Sequence[str]) -> NDArray[np.int64]:
    """[n, 16]: indices into `known`, cut or filled with padding at the end."""
    index = {w: i for i, w in enumerate(known)}
    rows = [[index.get(w, UNKNOWN) for w in words(t)[:LENGTH]] for t in texts]
    return np.array([r + [PADDING] * (LENGTH - len(r)) for r in rows], dtype=np.int64)
