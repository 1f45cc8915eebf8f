"""Words spoken by espeak-ng, which Debian has, for `kws`: no recordings, but with labels that are true.

The words of Speech Commands in many voices, speeds and pitches, as the reference front end sees them.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import wave

import numpy as np
from numpy.typing import NDArray

from models.mlperf_tiny.inputs import RATE, cepstrum

KEYWORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
SILENCE, UNKNOWN = 10, 11
"""The model's classes: KEYWORDS in order, then these."""
OTHERS = (
    "bed", "bird", "cat", "dog", "eight", "five", "four", "happy", "house", "marvin", "nine", "one", "seven",
    "sheila", "six", "three", "tree", "two", "wow", "zero",
)  # fmt: skip
"""What Speech Commands has as unknown words."""
ACCENTS, SPEAKERS = ("en-us", "en-gb"), ("", "+m1", "+m3", "+m7", "+f2", "+f3", "+f4")
INSTALL = "apt-get install espeak-ng"


def available() -> bool:
    return shutil.which("espeak-ng") is not None


def words(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """MFCCs [count, 49, 10, 1] and classes [count], each of the twelve as often as the others.

    Raises FileNotFoundError without espeak-ng. The same version of it gives the same numbers.
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % (len(KEYWORDS) + 2))
    made = [cepstrum(_second(int(label), random))[..., None] for label in labels]
    return np.stack(made).astype(np.float32), labels


def _second(label: int, random: np.random.Generator) -> NDArray[np.float64]:
    """One second with the word in its middle, above noise, its peak at 1 as the reference makes it."""
    sound = random.standard_normal(RATE) * 10 ** random.uniform(-3.5, -2.5)
    if label != SILENCE:
        voice = random.choice(ACCENTS) + random.choice(SPEAKERS)
        word = KEYWORDS[label] if label < len(KEYWORDS) else random.choice(OTHERS)
        spoken = _spoken(word, voice, int(random.integers(130, 200)), int(random.integers(35, 65)))[:RATE]
        start = (RATE - len(spoken)) // 2
        sound[start : start + len(spoken)] += spoken / np.abs(spoken).max()
    return np.asarray(sound / np.abs(sound).max())


def _spoken(word: str, voice: str, speed: int, pitch: int) -> NDArray[np.float64]:
    """At RATE. `speed`: words a minute; `pitch`: 0 to 99."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(data)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
    at = np.arange(int(len(samples) * RATE / rate)) * (rate / RATE)
    return np.asarray(np.interp(at, np.arange(len(samples)), samples / 2**15))
