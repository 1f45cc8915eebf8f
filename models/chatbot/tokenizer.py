"""From a text to the tokens that a chatbot's model takes. Plain Python: it ships with every model.

1. Lower the text and drop its apostrophes. A word is a run of the letters a to z, or of the digits 0 to 9;
   everything else separates words.
2. A word of the vocabulary is its line number in `vocabulary.txt`, counted from 0.
3. Any other word is cut into pieces of the vocabulary, at most 6 long and shorter than the word, from the
   left, the longest first. A piece that does not begin the word is written with `##` before it. A word that
   cannot be cut so is `<unknown>`.
4. What is longer than the model's input is cut off; the rest is filled up with `<padding>`.

    python tokenizer.py FOLDER "what is my balance"     prints the tokens
    python tokenizer.py FOLDER                          checks them against golden.json

`golden.json` holds texts and their tokens, so that a tokenizer in another language can be checked.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

PADDING, UNKNOWN = 0, 1
SPECIAL = ("<padding>", "<unknown>")
CONTINUED = "##"
LONGEST = 6
"""Letters of a piece."""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|[0-9]+", re.sub("['\u2019]", "", text.lower()))


class Tokenizer:
    """`vocabulary`: the tokens, whose place is their number. `length`: tokens that the model takes."""

    def __init__(self, vocabulary: Sequence[str], length: int) -> None:
        self.vocabulary = tuple(vocabulary)
        self.length = length
        self._index = {token: i for i, token in enumerate(self.vocabulary)}

    def encode(self, text: str) -> list[int]:
        """Exactly `length` tokens."""
        found = [token for word in words(text) for token in self.tokens(word)][: self.length]
        return found + [PADDING] * (self.length - len(found))

    def tokens(self, word: str) -> list[int]:
        known = self._index.get(word)
        return self.pieces(word) if known is None else [known]

    def pieces(self, word: str) -> list[int]:
        """The tokens of a word that is not taken as a whole."""
        found: list[int] = []
        start = 0
        while start < len(word):
            end = self._longest(word, start)
            if end == start:
                return [UNKNOWN]
            found.append(self._index[_written(word, start, end)])
            start = end
        return found

    def _longest(self, word: str, start: int) -> int:
        for end in range(min(len(word), start + LONGEST), start, -1):
            if end - start < len(word) and _written(word, start, end) in self._index:
                return end
        return start


def _written(word: str, start: int, end: int) -> str:
    return (CONTINUED if start else "") + word[start:end]


def load(folder: Path) -> Tokenizer:
    """The tokenizer of the model in `folder`."""
    vocabulary = (folder / "vocabulary.txt").read_text("utf-8").splitlines()
    length = json.loads((folder / "golden.json").read_text("utf-8"))["length"]
    return Tokenizer(vocabulary, int(length))


def mismatches(folder: Path) -> list[str]:
    """The texts of `golden.json` whose tokens come out otherwise."""
    tokenizer = load(folder)
    golden = json.loads((folder / "golden.json").read_text("utf-8"))["examples"]
    return [e["text"] for e in golden if tokenizer.encode(e["text"]) != e["tokens"]]


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    folder, *texts = arguments
    for text in texts:
        print(load(Path(folder)).encode(text))
    wrong = [] if texts else mismatches(Path(folder))
    for text in wrong:
        print(f"other tokens than in golden.json: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
