"""The networks: tokens int64 [batch, length] -> logits float32 [batch, intents].

Both read the padding as well, for on a device the length is fixed, and keep it out of the maximum over time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from models.chatbot.tokenizer import PADDING

Architecture = Literal["bilstm", "transformer"]
HEADS = 4
MASKED = -10000.0
"""Added to an attention score: as exporters of BERT write it, so that runtimes know it."""


@dataclass(frozen=True)
class Size:
    """`width`: of embeddings and of each direction of the LSTM. `layers`: of highway or attention."""

    width: int
    layers: int
    dropout: float


class Highway(nn.Module):  # type: ignore[misc]  # torch is Any
    """y = gate * relu(transform) + (1 - gate) * x (Srivastava et al., 2015)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -1.0)  # at first, pass on

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.gate(x))
        return x + gate * (torch.relu(self.transform(x)) - x)


class BiLstm(nn.Module):  # type: ignore[misc]  # torch is Any
    """Embedding, highway layers, a bidirectional LSTM, maximum over time, one linear layer."""

    def __init__(self, words: int, intents: int, length: int, size: Size) -> None:
        super().__init__()
        self.embedding = _embedding(words, size.width, 0.3)
        self.highway = nn.Sequential(*(Highway(size.width) for _ in range(size.layers)))
        self.lstm = nn.LSTM(size.width, size.width, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(2 * size.width, intents)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.dropout(self.highway(self.embedding(tokens))))
        return self.classifier(self.dropout(_maximum(states, tokens)))


class Attention(nn.Module):  # type: ignore[misc]  # torch is Any
    """Multi-head self-attention, written as BERT's is, for runtimes fuse what they recognise."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(self.width // HEADS)
        weights = self.dropout(torch.softmax(scores + mask, dim=-1))
        mixed = torch.matmul(weights, value).permute(0, 2, 1, 3).contiguous()
        return self.out(mixed.view(-1, _length(x), self.width))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, length, width] -> [batch, heads, length, width of a head]."""
        return x.view(-1, _length(x), HEADS, self.width // HEADS).permute(0, 2, 1, 3)


class Layer(nn.Module):  # type: ignore[misc]  # torch is Any
    """Attention and a feed-forward network, each added to its input and normalised (BERT's order)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, dropout / 2)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout / 2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.norm1(self.dropout(self.attention(x, mask)) + x)
        widened = functional.gelu(self.widen(x))
        return self.norm2(self.dropout(self.narrow(widened)) + x)


class Transformer(nn.Module):  # type: ignore[misc]  # torch is Any
    """Embedding of tokens and places, attention layers, maximum over time, one linear layer."""

    def __init__(self, words: int, intents: int, length: int, size: Size) -> None:
        super().__init__()
        self.embedding = _embedding(words, size.width, 0.3)
        self.places = nn.Parameter(torch.randn(length, size.width) * 0.02)
        self.norm = nn.LayerNorm(size.width)
        self.layers = nn.ModuleList(Layer(size.width, size.dropout) for _ in range(size.layers))
        self.classifier = nn.Linear(size.width, intents)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        shown = (tokens != PADDING).unsqueeze(1).unsqueeze(2).to(torch.float32)
        mask = (1.0 - shown) * MASKED
        x = self.dropout(self.norm(self.embedding(tokens) + self.places[: _length(tokens)]))
        for layer in self.layers:
            x = layer(x, mask)
        return self.classifier(self.dropout(_maximum(torch.tanh(x), tokens)))


class Convolutions(nn.Module):  # type: ignore[misc]  # torch is Any
    """A teacher only: Kim's CNN (2014), which errs elsewhere than a recurrent network."""

    def __init__(self, words: int, intents: int, length: int, size: Size) -> None:
        super().__init__()
        self.embedding = _embedding(words, size.width, 0.3)
        windows = (1, 2, 3)
        self.windows = nn.ModuleList(nn.Conv1d(size.width, size.width, w, padding=w - 1) for w in windows)
        self.classifier = nn.Linear(len(windows) * size.width, intents)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.embedding(tokens)).transpose(1, 2)
        seen = torch.cat([torch.relu(window(x)).amax(dim=2) for window in self.windows], dim=1)
        return self.classifier(self.dropout(seen))


def _length(x: torch.Tensor) -> int:
    """A number even while the exporter traces, which would otherwise compute every shape at run time."""
    return int(x.shape[1])


def _embedding(words: int, width: int, deviation: float) -> nn.Embedding:
    made = nn.Embedding(words, width, padding_idx=PADDING)
    with torch.no_grad():
        made.weight.normal_(0.0, deviation)
        made.weight[PADDING] = 0.0
    return made


def _maximum(x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Over time, of what is no padding. `x` [batch, length, width] in (-1, 1) -> [batch, width].

    Padding becomes 0 below x + 1 in (0, 2): a large negative number instead would widen the range that int8
    has to spread over, and so coarsen what is kept.
    """
    shown = (tokens != PADDING)[..., None].to(x.dtype)
    return ((x + 1) * shown).amax(dim=1) - 1
