#!/usr/bin/env python3
"""Learns the visual words of place recognition from simulated streets and writes them into the package."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np

from scal3r_ros.features.descriptors import VOCABULARY, Vocabulary
from scal3r_ros.features.sift import find_local_features
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import pinhole, render_frames
from scal3r_ros.simulation.town.town import build_town

TOWNS = range(11, 17)
LENGTH_M = 600.0
STRIDE = 8
FEATURES = 400
DIRECTIONS = 32
WORDS = 64


def main() -> None:
    """About a minute on one core; equal machines write equal words."""
    faiss.omp_set_num_threads(1)
    camera = pinhole(480, 144, 83.0)
    found = []
    for seed in TOWNS:
        drive = street_drive(LENGTH_M, seed=seed)
        some = Trajectory(drive.stamps_ns[::STRIDE], drive.T_ref_cam[::STRIDE])
        views = render_frames(some, camera, seed=seed, town=build_town(drive, seed))
        found += [find_local_features(view.image, FEATURES).descriptors for view in views]
    descriptors = np.concatenate(found).astype(np.float32)
    mean = descriptors.mean(axis=0)
    variance, directions = np.linalg.eigh(np.cov((descriptors - mean).T))
    strongest = np.argsort(-variance)[:DIRECTIONS]
    # Half-way to whitening: the strongest directions would dominate otherwise.
    basis = (directions[:, strongest] / variance[strongest] ** 0.25).astype(np.float32)
    vocabulary = Vocabulary(mean, basis, np.zeros((WORDS, DIRECTIONS), np.float32))
    clusters = faiss.Kmeans(DIRECTIONS, WORDS, niter=20, seed=1)
    clusters.train(vocabulary.reduced(np.concatenate(found))[::3])
    path = Path(__file__).parents[1] / "scal3r_ros" / "features" / VOCABULARY
    np.savez_compressed(path, mean=mean, basis=basis, words=clusters.centroids.astype(np.float32))
    print(f"{len(descriptors)} descriptors made {WORDS} words: {path}")


if __name__ == "__main__":
    main()
