"""From scores to probabilities: the maps that were fitted on validation rows, as plain numbers.

Each map is monotone, so it changes no ranking (isotonic steps may tie rows). A map was fitted either on probabilities
(scores in [0, 1], taken to log-odds first) or on log-odds (any scores), says which, and refuses the other kind.

``temperature``: expit(z / T). ``platt``: expit(a z + b). ``dirichlet``: expit(a ln p - b ln (1 - p) + c), the Dirichlet
map of two classes, also called beta calibration. ``isotonic``: linear between the steps of an isotonic regression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from medvlp.core.errors import DataError

FloatArray = NDArray[np.float64]
CalibratorName = Literal["temperature", "platt", "dirichlet", "isotonic"]
CALIBRATORS: tuple[CalibratorName, ...] = get_args(CalibratorName)
Scale = Literal["probability", "log_odds"]
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "platt": ("slope", "intercept"),
    "dirichlet": ("present", "absent", "intercept"),
    "isotonic": ("score", "probability"),
}
# A model that writes 0 or 1 has rounded; its log-odds are taken as those of one in a trillion.
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A fitted map of one finding.

    Attributes:
        name: which map.
        scale: what the scores must be.
        parameters: by name; single numbers are arrays of one.
        n, positives: validation rows that it was fitted on.
    """

    name: CalibratorName
    scale: Scale
    parameters: Mapping[str, tuple[float, ...]]
    n: int
    positives: int

    def probabilities(self, scores: ArrayLike) -> FloatArray:
        """Return the calibrated probability of each score.

        Raises:
            DataError: if a score is NaN or infinite, or outside [0, 1] where the map is for probabilities.

        Example:
            >>> map_ = Calibrator("platt", "log_odds", {"slope": (2.0,), "intercept": (0.0,)}, n=10, positives=5)
            >>> map_.probabilities([0.0, 1.0]).round(3).tolist()
            [0.5, 0.881]
        """
        values = np.asarray(scores, dtype=np.float64)
        if not np.isfinite(values).all():
            raise DataError("Scores hold NaN or infinite values: mend the predictor or leave these rows out.")
        if self.name == "isotonic":
            _in_range(values, self.scale)
            return np.interp(values, self.parameters["score"], self.parameters["probability"])
        z = log_odds(values, self.scale)
        if self.name == "temperature":
            return expit(z / self.parameters["temperature"][0])
        if self.name == "platt":
            return expit(self.parameters["slope"][0] * z + self.parameters["intercept"][0])
        present, absent, intercept = (self.parameters[key][0] for key in _PARAMETERS["dirichlet"])
        return expit(-present * np.logaddexp(0, -z) + absent * np.logaddexp(0, z) + intercept)

    def to_dict(self) -> dict[str, object]:
        """Return plain data for a bundle or a results file."""
        return {
            "name": self.name,
            "scale": self.scale,
            "parameters": {key: list(value) for key, value in self.parameters.items()},
            "n": self.n,
            "positives": self.positives,
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, object]) -> Calibrator:
        """Return the map of plain data.

        Raises:
            DataError: if something is missing or of another kind.

        Example:
            >>> map_ = Calibrator("temperature", "log_odds", {"temperature": (2.0,)}, n=10, positives=5)
            >>> Calibrator.from_dict(map_.to_dict()) == map_
            True
        """
        try:
            name = next(known for known in CALIBRATORS if known == entry["name"])
            scale = next(known for known in get_args(Scale) if known == entry["scale"])
            given = entry["parameters"]
            if not isinstance(given, Mapping) or set(given) != set(_PARAMETERS[name]):
                raise ValueError(f"{name} has the parameters {', '.join(_PARAMETERS[name])}")
            parameters = {key: tuple(float(value) for value in given[key]) for key in _PARAMETERS[name]}
            if not all(len(value) and np.isfinite(value).all() for value in parameters.values()):
                raise ValueError("parameters are finite numbers")
            n, positives = int(str(entry["n"])), int(str(entry["positives"]))
        except (KeyError, StopIteration, TypeError, ValueError) as error:
            raise DataError(
                f"A stored calibration cannot be read ({type(error).__name__}: {error}): fit it again."
            ) from error
        return cls(name, scale, parameters, n, positives)


def log_odds(scores: FloatArray, scale: Scale) -> FloatArray:
    """Return scores as log-odds: probabilities are taken there, 0 and 1 as one in a trillion off; others are already.

    Raises:
        DataError: if the scale is probabilities and a score is outside [0, 1].

    Example:
        >>> log_odds(np.array([0.5, 1.0]), "probability").round(2).tolist()
        [0.0, 27.63]
    """
    _in_range(scores, scale)
    if scale == "log_odds":
        return scores
    inside = np.clip(scores, _LEAST, 1 - _LEAST)
    return np.log(inside) - np.log1p(-inside)


def _in_range(scores: FloatArray, scale: Scale) -> None:
    outside = (scores < 0) | (scores > 1)
    if scale == "probability" and outside.any():
        raise DataError(
            f"Scores lie outside [0, 1] in {int(outside.sum())} of {scores.size} rows, the first is "
            f"{scores[outside][0]:g}; the calibration was fitted on scores within: use the same kind of scores."
        )
