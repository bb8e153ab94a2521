"""One vector for an image, by which its place is recognised again: VLAD over local features.

Each local feature adds the direction from its nearest visual word to itself; the sums of all words, each of unit
length, make the vector. The words and the 32 directions in which SIFT varies most were learned from simulated streets
(scripts/learn_vocabulary.py). Sources: Jégou et al. 2010 (VLAD), Arandjelović & Zisserman 2013 (normalisation).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.features.sift import LocalFeatures

VOCABULARY = "place_vocabulary.npz"


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """`mean` (128,) and `basis` (128, d) turn a local descriptor into d numbers; `words` (k, d) are centres of those.

    All are float32.
    """

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    words: NDArray[np.float32]

    def reduced(self, descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Local descriptors (n, 128) as unit vectors (n, d)."""
        reduced = (descriptors.astype(np.float32) - self.mean) @ self.basis
        return np.asarray(reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-9), np.float32)


@cache
def bundled_vocabulary() -> Vocabulary:
    """The vocabulary of this package."""
    with resources.files(__package__).joinpath(VOCABULARY).open("rb") as file, np.load(file) as arrays:
        return Vocabulary(arrays["mean"], arrays["basis"], arrays["words"])


def place_descriptor(features: LocalFeatures, vocabulary: Vocabulary | None = None) -> NDArray[np.float32]:
    """Unit vector (k · d,) float32 of an image's local features; zeros where it has none."""
    vocabulary = vocabulary or bundled_vocabulary()
    words = vocabulary.words
    reduced = vocabulary.reduced(features.descriptors)
    nearest = (reduced @ words.T - 0.5 * np.square(words).sum(axis=1)).argmax(axis=1)
    residual = reduced - words[nearest]
    residual /= np.maximum(np.linalg.norm(residual, axis=1, keepdims=True), 1e-9)
    sums = np.zeros_like(words)
    np.add.at(sums, nearest, residual)
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    flat = sums.ravel()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-9), np.float32)
