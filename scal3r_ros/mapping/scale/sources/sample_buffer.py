"""Sensor samples by stamp, as many as may still be needed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Generic, TypeVar

from scal3r_ros.mapping.values import SensorSample

MOST_SAMPLES = 200_000
"""Samples that may wait for their submap: a quarter of an hour at 200 Hz. The oldest beyond that are dropped."""

SampleT = TypeVar("SampleT", bound=SensorSample)


class SampleBuffer(Generic[SampleT]):
    """Samples in order of their stamps, whatever the order in which they come."""

    def __init__(self) -> None:
        self._samples: list[SampleT] = []

    def add(self, sample: SampleT) -> None:
        """Takes in a sample; a second one with the same stamp takes the place of the first."""
        samples = self._samples
        if not samples or sample.stamp_ns > samples[-1].stamp_ns:
            samples.append(sample)
        else:
            at = bisect_left(samples, sample.stamp_ns, key=_stamp)
            if samples[at].stamp_ns == sample.stamp_ns:
                samples[at] = sample
            else:
                insort(samples, sample, key=_stamp)
        if len(samples) > MOST_SAMPLES:
            del samples[: MOST_SAMPLES // 10]

    def between(self, first_ns: int, last_ns: int) -> list[SampleT]:
        """The samples from `first_ns` to `last_ns`, both included, and the nearest one beyond either end."""
        begin = max(0, bisect_right(self._samples, first_ns, key=_stamp) - 1)
        end = bisect_left(self._samples, last_ns, key=_stamp) + 1
        return self._samples[begin:end]

    def forget_before(self, stamp_ns: int) -> None:
        """Drops what is older, but for the newest of it."""
        del self._samples[: max(0, bisect_right(self._samples, stamp_ns, key=_stamp) - 1)]

    def clear(self) -> None:
        """Drops all."""
        self._samples.clear()


def _stamp(sample: SensorSample) -> int:
    return sample.stamp_ns
