"""Predictions for a sequence beside the ground truth, as a picture: one row per chunk, with its path from above.

Columns: the chunk's reference image, true depth, predicted depth at the true scale, confidence, paths (true white,
predicted orange). Near is bright; unknown is black.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import TrainingError
from scal3r_ros.training.data.batches import Batch
from scal3r_ros.training.forward import Outputs
from scal3r_ros.training.records.validation import Prediction, chunk_errors_of, predicted_and_true

_SAID, _TRUE = (255, 160, 40), (255, 255, 255)
_MARGIN = 6


def write_picture(path: Path, batch: Batch, outputs: Outputs) -> None:
    """Writes the picture of a batch of one sequence as PNG; `TrainingError` where the disk does not take it."""
    rows = [_row(batch, predicted, chunk) for chunk, predicted in enumerate(predicted_and_true(outputs, batch))]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1]):
        raise TrainingError(f"picture {path} cannot be written")


def _row(batch: Batch, predicted: Prediction, chunk: int) -> NDArray[np.uint8]:
    errors = chunk_errors_of(predicted, 1.0, sure_from=1.0)
    scale = float(np.exp(errors.log_scale))
    first = batch.order[0]
    image = (255 * batch.images[chunk * batch.layout.frames]).byte().permute(1, 2, 0).numpy()
    true = predicted.true_depth[first]
    nearest = float(np.quantile(true[true > 0], 0.02)) if (true > 0).any() else 1.0
    confidence = predicted.confidence[first]
    columns = [
        image,
        _bright(nearest / np.maximum(true, 1e-6) * (true > 0)),
        _bright(nearest / np.maximum(scale * predicted.depth[first], 1e-6)),
        _bright(1.0 - 1.0 / confidence),
        _paths(predicted.true_T_chunk_cam[:, :3, 3], scale * predicted.T_chunk_cam[:, :3, 3], image.shape[0]),
    ]
    return np.concatenate(columns, axis=1)


def _bright(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    grey = np.rint(255 * np.clip(share, 0.0, 1.0)).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8)


def _paths(true: NDArray[np.float64], predicted: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Both paths (F, 3) from above, ahead being up."""
    both = np.concatenate([true, predicted])[:, [0, 2]] * (1.0, -1.0)
    low, span = both.min(axis=0), max(float(np.ptp(both, axis=0).max()), 1e-6)
    pixels = np.rint(_MARGIN + (both - low) / span * (size - 2 * _MARGIN)).astype(np.int32)
    canvas = np.zeros((size, size, 3), np.uint8)
    for points, colour in ((pixels[: len(true)], _TRUE), (pixels[len(true) :], _SAID)):
        cv2.polylines(canvas, [points[:, None]], False, colour, 1, cv2.LINE_AA)
        for x, y in points.tolist():
            cv2.circle(canvas, (x, y), 2, colour, -1, cv2.LINE_AA)
    return canvas
