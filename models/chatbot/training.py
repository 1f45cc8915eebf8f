"""Training: cross entropy on varied texts, averaged weights, and an ensemble's knowledge in one model.

A chatbot has a hundred texts an intent. Teachers of two kinds are trained on them; then the model itself
learns from the labels and from what the teachers say of each varied text (Hinton et al., 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models.chatbot.corpus import Split
from models.chatbot.encoding import batches, encode
from models.chatbot.networks import Architecture, BiLstm, Convolutions, Size, Transformer
from models.chatbot.tokenizer import Tokenizer

KINDS: dict[str, Callable[[int, int, int, Size], nn.Module]] = {
    "bilstm": BiLstm,
    "transformer": Transformer,
    "convolutions": Convolutions,
}
SMOOTHING = 0.1
AVERAGE = 0.998
"""Share of the old in the running average of the weights, which is what is kept."""
LARGEST_GRADIENT = 1.0
TAUGHT = 0.6
"""Share of the loss that comes from the teachers."""
TEMPERATURE = 2.0


@dataclass(frozen=True)
class Schedule:
    epochs: int
    batch: int
    rate: float
    decay: float = 0.02


@dataclass(frozen=True)
class Plan:
    """Which network, how large, and how it is trained; `teachers` first, in their order."""

    kind: str
    size: Size
    schedule: Schedule
    teachers: tuple[Plan, ...] = ()


def plan(architecture: Architecture, intents: int, *, taught: bool = True) -> Plan:
    """First guesses, hardly tuned: one set of figures for a domain's few texts, one for many intents."""
    few = intents <= 40
    sizes = {
        "bilstm": Size(96 if few else 128, 1, 0.4),
        "transformer": Size(96 if few else 128, 2, 0.4),
        "convolutions": Size(96 if few else 192, 0, 0.4),
    }
    schedules = {
        "bilstm": Schedule(40, 32, 4e-3) if few else Schedule(15, 64, 3e-3),
        "transformer": Schedule(40, 32, 2e-3) if few else Schedule(15, 64, 1.5e-3),
        "convolutions": Schedule(30, 32, 4e-3) if few else Schedule(12, 64, 2e-3),
    }
    made = {kind: Plan(kind, sizes[kind], schedules[kind]) for kind in sizes}
    teachers = (made["bilstm"], made["convolutions"]) if taught else ()
    return Plan(architecture, sizes[architecture], schedules[architecture], teachers)


def train(split: Split, intents: int, tokenizer: Tokenizer, wanted: Plan, seed: int) -> nn.Module:
    """The trained network, in evaluation mode. The same versions on the same processor give the same weights.

    Sets torch's number of threads to 1: the order of summation, hence the weights, depends on it.
    """
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    teachers = [
        train(split, intents, tokenizer, teacher, seed + 1 + i) for i, teacher in enumerate(wanted.teachers)
    ]
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    net = KINDS[wanted.kind](len(tokenizer.vocabulary), intents, tokenizer.length, wanted.size)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    schedule = wanted.schedule
    steps = schedule.epochs * -(-len(split.texts) // schedule.batch)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=schedule.rate, weight_decay=schedule.decay, betas=(0.9, 0.98)
    )
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.rate, total_steps=steps, pct_start=0.2)
    step = 0
    for _ in range(schedule.epochs):
        for tokens, labels in batches(split, tokenizer, schedule.batch, random):
            optimizer.zero_grad()
            _loss(net(tokens), labels, _opinion(teachers, tokens)).backward()
            nn.utils.clip_grad_norm_(net.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            rates.step()
            step += 1
            _blend(average, net, min(AVERAGE, (1 + step) / (10 + step)))
    net.load_state_dict(average)
    return net.eval()


def _opinion(teachers: Sequence[nn.Module], tokens: torch.Tensor) -> torch.Tensor | None:
    """[batch, intents]: the mean of what the teachers hold probable, softened; None without teachers."""
    if not teachers:
        return None
    with torch.no_grad():
        said = [torch.softmax(teacher(tokens) / TEMPERATURE, dim=1) for teacher in teachers]
    return torch.stack(said).mean(dim=0)


def _loss(logits: torch.Tensor, labels: torch.Tensor, opinion: torch.Tensor | None) -> torch.Tensor:
    own = functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
    if opinion is None:
        return own
    heard = functional.log_softmax(logits / TEMPERATURE, dim=1)
    divergence = functional.kl_div(heard, opinion, reduction="batchmean") * TEMPERATURE**2
    return (1 - TAUGHT) * own + TAUGHT * divergence


def _blend(average: dict[str, torch.Tensor], net: nn.Module, kept: float) -> None:
    with torch.no_grad():
        for name, value in net.state_dict().items():
            average[name].lerp_(value, 1 - kept)


def logits(net: nn.Module, texts: Sequence[str], tokenizer: Tokenizer) -> NDArray[np.float32]:
    """[texts, intents]."""
    tokens = torch.from_numpy(encode(texts, tokenizer))
    with torch.no_grad():
        made: NDArray[np.float32] = torch.cat([net(part) for part in tokens.split(512)]).numpy()
    return made


def accuracy(net: nn.Module, split: Split, tokenizer: Tokenizer) -> float:
    return float((logits(net, split.texts, tokenizer).argmax(axis=1) == np.array(split.labels)).mean())
