"""From a corpus to tensors: the vocabulary of the training texts, and texts that vary from epoch to epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from models.chatbot.corpus import Split
from models.chatbot.tokenizer import CONTINUED, LONGEST, PADDING, SPECIAL, UNKNOWN, Tokenizer, words

LENGTH = 24
LEAST_WORD, LEAST_PIECE = 2, 4
"""How often a word must occur in the training texts, and in how many of their words a piece."""
SPLIT_WORDS, FORGOTTEN = 0.1, 0.15
"""Shares of the words that training cuts into pieces, and of the tokens that it replaces by <unknown>."""
PADDED = 3
"""Training fills up each batch to its longest text plus 0 to PADDED - 1 tokens: full length costs twice."""


def tokenizer_of(texts: Sequence[str], length: int = LENGTH) -> Tokenizer:
    """Special tokens, words by frequency, then pieces by name. Single letters and digits are all pieces."""
    counts = Counter(word for text in texts for word in words(text))
    kept = sorted((w for w, n in counts.items() if n >= LEAST_WORD), key=lambda w: (-counts[w], w))
    pieces = Counter(piece for word in counts for piece in _parts(word))
    often = {p for p, n in pieces.items() if n >= LEAST_PIECE or len(p.removeprefix(CONTINUED)) == 1}
    return Tokenizer((*SPECIAL, *kept, *sorted(often - set(kept))), length)


def _parts(word: str) -> Iterator[str]:
    """Every piece of a word that is not all of it."""
    for start in range(len(word)):
        for end in range(start + 1, min(len(word), start + LONGEST) + 1):
            if end - start < len(word):
                yield (CONTINUED if start else "") + word[start:end]


def encode(texts: Sequence[str], tokenizer: Tokenizer) -> NDArray[np.int64]:
    """[texts, length]."""
    rows = [tokenizer.encode(text) for text in texts]
    return np.array(rows, np.int64).reshape(len(rows), tokenizer.length)


def batches(
    split: Split, tokenizer: Tokenizer, size: int, random: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch: tokens [size, longest] and labels [size]. Texts of about the same length are together."""
    rows = [_varied(text, tokenizer, random) for text in split.texts]
    lengths = np.array([len(row) for row in rows])
    order = np.argsort(lengths + random.random(len(rows)) * 4)
    portions = [order[i : i + size] for i in range(0, len(order), size)]
    for i in random.permutation(len(portions)):
        chosen = portions[i]
        longest = min(int(lengths[chosen].max()) + int(random.integers(PADDED)), tokenizer.length)
        tokens = np.full((len(chosen), longest), PADDING, np.int64)
        for row, place in zip(tokens, chosen, strict=True):
            row[: lengths[place]] = rows[place]
        forgotten = (random.random(tokens.shape) < FORGOTTEN) & (tokens != PADDING)
        tokens[forgotten] = UNKNOWN
        yield torch.from_numpy(tokens), torch.tensor([split.labels[place] for place in chosen])


def _varied(text: str, tokenizer: Tokenizer, random: np.random.Generator) -> list[int]:
    """The tokens of a text, some words in pieces: else pieces would be known from rare words only."""
    found: list[int] = []
    for word in words(text):
        found += tokenizer.pieces(word) if random.random() < SPLIT_WORDS else tokenizer.tokens(word)
    return found[: tokenizer.length] or [UNKNOWN]
