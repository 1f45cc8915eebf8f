"""What a chatbot's model is worth: accuracy on the test split, and how it tells strange queries apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.chatbot.corpus import Corpus
from models.chatbot.tokenizer import Tokenizer
from models.chatbot.training import accuracy, logits

KEPT = (0.99, 0.95, 0.90)
"""Shares of the validation queries that a threshold lets through."""


def confidence(answers: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n]: the largest softmax of each row of logits [n, intents]."""
    shifted = np.exp(answers - answers.max(axis=1, keepdims=True))
    found: NDArray[np.float32] = shifted.max(axis=1) / shifted.sum(axis=1)
    return found


@dataclass(frozen=True)
class Refusal:
    """What one threshold on the confidence does; it lets through `validation_kept` of the validation queries.

    `recall`: of CLINC150's out-of-scope test queries, the share below the threshold. `accuracy`: of the test
    queries of the chatbot's own intents, the share above the threshold and right.
    """

    threshold: float
    validation_kept: float
    recall: float
    accuracy: float


def out_of_scope(net: nn.Module, corpus: Corpus, tokenizer: Tokenizer) -> list[Refusal]:
    sure = confidence(logits(net, corpus.validation.texts, tokenizer))
    strange = confidence(logits(net, corpus.strange, tokenizer))
    answers = logits(net, corpus.test.texts, tokenizer)
    right = answers.argmax(axis=1) == np.array(corpus.test.labels)
    rows = []
    for share in KEPT:
        threshold = float(np.quantile(sure, 1 - share))
        answered = confidence(answers) >= threshold
        recall, accurate = float((strange < threshold).mean()), float((answered & right).mean())
        rows.append(Refusal(round(threshold, 4), share, round(recall, 4), round(accurate, 4)))
    return rows


def report(
    net: nn.Module, corpus: Corpus, tokenizer: Tokenizer, architecture: str, seed: int
) -> dict[str, object]:
    """As `report.json` has it."""
    return {
        "architecture": architecture,
        "intents": len(corpus.intents),
        "seed": seed,
        "tokens": len(tokenizer.vocabulary),
        "weights": sum(p.numel() for p in net.parameters()),
        "validation": round(accuracy(net, corpus.validation, tokenizer), 4),
        "test": round(accuracy(net, corpus.test, tokenizer), 4),
        "out_of_scope": [asdict(row) for row in out_of_scope(net, corpus, tokenizer)],
    }


def told(found: Mapping[str, Any]) -> str:
    """The report as a person reads it."""
    lines = [
        f"{found['architecture']}, {found['intents']} intents, {found['weights']:,} weights: accuracy "
        f"{found['test']:.4f} on the test split, {found['validation']:.4f} on the validation split"
    ]
    lines += [
        f"  confidence >= {row['threshold']:.3f}: {row['accuracy']:.4f} of the test queries answered and "
        f"right, {row['recall']:.4f} of the out-of-scope queries refused"
        for row in found["out_of_scope"]
    ]
    return "\n".join(lines)
