"""Inputs for the MLPerf Tiny models where their data sets are not: synthesised sounds and pictures, seeded.

Sounds go through the front ends that the models were trained behind, so that what comes out has their ranges
and their statistics; white noise within the same ranges has not: it drives the layers of `kws` to four times
what its int8 original was calibrated for. Nothing here tells how good a model is on real data.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Random = np.random.Generator
RATE = 16000
"""Hz, of all sounds."""


def keywords(random: Random) -> Array:
    """[49, 10, 1]: MFCCs of one second with a word-like sound in it: a pitch, gliding formants, hisses."""
    t = np.arange(RATE) / RATE
    sound = np.zeros(RATE)
    start = random.uniform(0.05, 0.4)
    for _ in range(random.integers(1, 4)):
        length = random.uniform(0.08, 0.35)
        envelope = np.exp(-0.5 * ((t - start - length / 2) / (length / 3)) ** 2)
        voiced = random.random() < 0.75
        sound += envelope * (_voice(t, random) if voiced else 0.3 * _coloured(len(t), 0.0, random))
        start += length * random.uniform(0.7, 1.2)
    sound /= np.abs(sound).max()
    sound = sound * random.uniform(0.1, 1.0) + 10 ** random.uniform(-4.5, -2) * _coloured(len(t), 1.0, random)
    return cepstrum(np.clip(sound, -1, 1))[..., None]


def machine(random: Random) -> Array:
    """[640]: five frames of 128 mel bands, in dB, of a machine: hum with harmonics, on coloured noise."""
    t = np.arange(1024 + 4 * 512) / RATE
    pitch = random.uniform(40, 400)
    phases, falls = random.uniform(0, 2 * np.pi, 30), random.uniform(0.8, 1.6)
    hum = sum(np.sin(2 * np.pi * pitch * k * t + p) / k**falls for k, p in enumerate(phases, 1))
    noise = _coloured(len(t), random.uniform(0.3, 0.8), random)
    sound = 10 ** random.uniform(-3.5, -2.2) * hum + 10 ** random.uniform(-2.6, -1.6) * noise
    power = np.abs(_spectra(sound, 1024, 512, 1024)) ** 2
    return (10 * np.log10(power @ _mel(128, 513, 0.0, RATE / 2) + 1e-12)).reshape(-1)


def picture(side: int, top: float) -> Callable[[Random], Array]:
    """[side, side, 3] from 0 to `top`: a cloudy background, shaded shapes with soft edges before it.

    The colours are pale and the edges two pixels wide, as in photographs: pure ones drive the first layers of
    `vww` to three times what its int8 original was calibrated for.
    """

    def drawn(random: Random) -> Array:
        image = 0.15 * _clouds(side, random)[..., None] + 0.03 * _coloured_clouds(side, random)
        image += random.uniform(0.2, 0.8) + _tint(random)
        y, x = np.mgrid[0:side, 0:side] / side
        for _ in range(random.integers(1, 6)):
            (cx, cy), (rx, ry) = random.uniform(0, 1, 2), random.uniform(0.08, 0.4, 2)
            power = random.choice([1, 2, 8])  # a diamond, an ellipse, a box
            distance = (np.abs((x - cx) / rx) ** power + np.abs((y - cy) / ry) ** power) ** (1 / power)
            inside = 1 / (1 + np.exp(np.clip((distance - 1) * min(rx, ry) * side * 2, -50, 50)))[..., None]
            shade = random.uniform(-0.3, 0.3) * (x - cx) + random.uniform(-0.3, 0.3) * (y - cy)
            shape = random.uniform(0.05, 0.95) + _tint(random) + shade[..., None]
            image = image + inside * (shape + 0.03 * _clouds(side, random)[..., None] - image)
        return np.clip(image, 0, 1) * top

    return drawn


def _tint(random: Random) -> Array:
    """[3]: how far red, green and blue lie from grey."""
    return np.asarray(random.normal(0, 0.06, 3))


def _coloured_clouds(side: int, random: Random) -> Array:
    return np.stack([_clouds(side, random) for _ in range(3)], -1)


def _voice(t: Array, random: Random) -> Array:
    """Harmonics of a gliding pitch under three gliding formants."""
    glide = t - 0.5
    pitch = random.uniform(90, 260) * (1 + random.uniform(-0.3, 0.3) * glide)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    centres = [(300, 900), (900, 2400), (2300, 3400)]
    formants = [random.uniform(*c) * (1 + random.uniform(-0.4, 0.4) * glide) for c in centres]
    widths = random.uniform(60, 200, 3)
    made = np.zeros_like(t)
    for k in range(1, 31):
        gain = sum(1 / (1 + ((k * pitch - f) / w) ** 2) for f, w in zip(formants, widths, strict=True))
        made += np.where(k * pitch < RATE / 2, gain, 0) * np.sin(k * phase)
    return np.asarray(made / np.abs(made).max())


def _coloured(length: int, falls: float, random: Random) -> Array:
    """Noise whose amplitude falls with frequency to the power of `falls`; largest value 1."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    made = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** falls, length)
    return np.asarray(made / np.abs(made).max())


def _clouds(side: int, random: Random) -> Array:
    """[side, side] with the spectrum of photographs, amplitude 1/f; mean 0, deviation 1."""
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    f[0, 0] = np.inf
    made = np.fft.irfft2(np.fft.rfft2(random.standard_normal((side, side))) / f, (side, side))
    return np.asarray(made / made.std())


def _spectra(sound: Array, length: int, hop: int, size: int) -> NDArray[np.complex128]:
    frames = np.lib.stride_tricks.sliding_window_view(sound, length)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return np.asarray(np.fft.rfft(frames * hann, size))


def cepstrum(sound: Array) -> Array:
    """The reference's: 30 ms every 20 ms, 40 mel bands from 20 to 4000 Hz, log(x + 1e-6), TF's DCT."""
    bands = np.abs(_spectra(sound, 480, 320, 512)) @ _mel(40, 257, 20.0, 4000.0)
    n = np.arange(40)
    dct = 2 * np.cos(np.pi * (2 * n[:, None] + 1) * n / 80) / np.sqrt(80)
    return np.asarray(np.log(bands + 1e-6) @ dct[:, :10])


def _mel(bands: int, bins: int, low: float, high: float) -> Array:
    """[bins, bands]: triangles even in mel (HTK), as `tf.signal.linear_to_mel_weight_matrix`."""
    mel = 1127 * np.log1p(np.linspace(0, RATE / 2, bins) / 700)[:, None]
    edges = np.linspace(1127 * np.log1p(low / 700), 1127 * np.log1p(high / 700), bands + 2)
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    made = np.maximum(0, np.minimum(rising, falling))
    made[0] = 0  # the constant part of a sound
    return np.asarray(made)
