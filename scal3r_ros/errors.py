"""The root of every error this package raises on purpose.

Each room derives one subclass from `Scal3rError`; its message is one sentence that names the input, what is wrong with
it and what to do about it. Whoever catches it either handles it in full or counts it and logs it once.
"""


class Scal3rError(Exception):
    """Something a user can act on: wrong input, a missing file, an option out of range."""


class GeometryError(Scal3rError):
    """A calibration, pose or point set that no geometry can be computed from."""


class SequenceError(Scal3rError):
    """A bag, image folder, calibration file or trajectory file that cannot be read or written."""


class ReconstructionError(Scal3rError):
    """A reconstructor that cannot be built or run as asked."""


class MappingError(Scal3rError):
    """The online mapper was used out of order or with impossible settings."""


class EvaluationError(Scal3rError):
    """An estimate and a ground truth that cannot be compared."""


class ViewError(Scal3rError):
    """A view of the map that cannot be served or written."""


class SimulationError(Scal3rError):
    """A world or drive that cannot be made as asked."""


class ModelError(Scal3rError):
    """A preset or checkpoint that cannot be used."""


class TrainingError(Scal3rError):
    """Data that cannot be trained on, or a run that cannot be started or continued."""


class ConfigurationError(Scal3rError):
    """A configuration file or parameter that is unknown, mistyped or out of range."""
