"""How far two presets are apart on one set of images: in pixels, in gray levels, and in what a model makes of them.

A model that learned from one preset and is served another sees other pictures than it knows; this puts a number on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.stats import wasserstein_distance

from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.core.errors import DataError, UserError
from medvlp.io.errors import UnreadableImage
from medvlp.io.presets import preset_info
from medvlp.io.read import read_image
from medvlp.statistics.bootstrap import bootstrap, patient_clusters, percentile_interval
from medvlp.statistics.metrics import FloatArray

__all__ = ["Drift", "DriftCase", "DriftMeasure", "compare_presets", "drift_document"]

_LEVELS = 1020  # a multiple of 255: 8-bit grays fall on levels exactly
_LEAST_PATIENTS = 6  # a 95 % interval of a median needs as many: 2 / 2**6 < 0.05
_RESAMPLES = 2000
_BATCH = 32  # images in memory at once, by both presets


@dataclass(frozen=True, slots=True)
class DriftCase:
    """Two readings of one image.

    Attributes:
        path: the file.
        patient: whom it belongs to.
        values: by measure; None where it is not defined (constant pixels, readings of two shapes).
    """

    path: str
    patient: str
    values: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class DriftMeasure:
    """The median of one measure over images.

    Attributes:
        measure: ``difference``, mean absolute difference of pixels (0 to 1); ``correlation``, Pearson's, of pixels;
            ``histogram``, Wasserstein distance of gray values (0 to 1); ``cosine`` of embeddings.
        n: images in which it is defined.
        patients: their patients.
        median: None where n is 0.
        low, high: 95 % interval of the median, patients resampled; None below 6 patients.
    """

    measure: str
    n: int
    patients: int
    median: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Drift:
    """Two presets compared.

    Attributes:
        presets: their names.
        measures: one row each.
        cases: the images, in order.
        left_out: (path, preset that refused it, reason).
        turned: images that one preset turns to another shape, so that pixels cannot be compared.
        notes: what a reader should know.
    """

    presets: tuple[str, str]
    measures: tuple[DriftMeasure, ...]
    cases: tuple[DriftCase, ...]
    left_out: tuple[tuple[str, str, str], ...]
    turned: int
    notes: tuple[str, ...]


def compare_presets(
    paths: Sequence[Path],
    presets: tuple[str, str],
    *,
    patients: Sequence[str] | None = None,
    model: VisionLanguageModel | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Drift:
    """Read each image by two presets and compare what comes out.

    Pixels are compared at the image's own size, gray values as histograms of 1021 levels; embeddings are those that
    ``model`` gives of either reading, resized by its own preprocessing.

    Args:
        paths: image files.
        presets: two names, see ``medvlp.io.preset_names``.
        patients: the patient of each image; default: each image is its own.
        model: whose embeddings are compared; None leaves them out.
        seed: of the resampling.
        progress: called with (images done, images).

    Raises:
        UserError: a preset does not exist, or both are the same.
        DataError: no image can be read by both.
    """
    for name in presets:
        preset_info(name)
    if presets[0] == presets[1]:
        raise UserError(f"Both presets are {presets[0]}: name two different ones.")
    owners = [str(path) for path in paths] if patients is None else list(patients)
    cases: list[DriftCase] = []
    left_out: list[tuple[str, str, str]] = []
    turned = 0
    readings = _readings(paths, owners, presets, left_out, progress)
    while group := list(islice(readings, _BATCH)):
        cosines = None if model is None else _cosines(model, [pair for _, _, pair in group])
        for k, (path, owner, (a, b)) in enumerate(group):
            turned += a.shape != b.shape
            values = _values(a, b) if cosines is None else {**_values(a, b), "cosine": cosines[k]}
            cases.append(DriftCase(path, owner, values))
    if not cases:
        raise DataError(_nothing(left_out))
    measures = tuple(_measure(name, cases, seed) for name in cases[0].values)
    return Drift(presets, measures, tuple(cases), tuple(left_out), turned, _notes(model, presets, patients))


def _readings(
    paths: Sequence[Path],
    owners: Sequence[str],
    presets: tuple[str, str],
    left_out: list[tuple[str, str, str]],
    progress: Callable[[int, int], None],
) -> Iterator[tuple[str, str, tuple[np.ndarray, np.ndarray]]]:
    for done, (path, owner) in enumerate(zip(paths, owners, strict=True), start=1):
        pixels = []
        for name in presets:
            try:
                pixels.append(read_image(path, preset=name).pixels)
            except UnreadableImage as error:
                left_out.append((str(path), name, error.reason))
                break
        progress(done, len(paths))
        if len(pixels) == 2:
            yield str(path), owner, (pixels[0], pixels[1])


def _values(a: np.ndarray, b: np.ndarray) -> dict[str, float | None]:
    difference = correlation = None
    if a.shape == b.shape:
        difference = float(np.abs(a - b).mean(dtype=np.float64))
        if a.min() < a.max() and b.min() < b.max():
            correlation = float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    return {"difference": difference, "correlation": correlation, "histogram": _histogram_distance(a, b)}


def _histogram_distance(a: np.ndarray, b: np.ndarray) -> float:
    counts = [np.bincount(np.rint(x * _LEVELS).astype(np.int64).ravel(), minlength=_LEVELS + 1) for x in (a, b)]
    levels = np.arange(_LEVELS + 1) / _LEVELS
    return float(wasserstein_distance(levels, levels, counts[0], counts[1]))


def _cosines(model: VisionLanguageModel, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    both = [model.embed_prepared([model.prepare(pair[side]).pixels for pair in pairs]) for side in (0, 1)]
    return [float(value) for value in np.sum(both[0].astype(np.float64) * both[1], axis=1)]


def _measure(name: str, cases: Sequence[DriftCase], seed: int) -> DriftMeasure:
    defined = [(case.patient, value) for case in cases if (value := case.values[name]) is not None]
    if not defined:
        return DriftMeasure(name, 0, 0, None, None, None)
    values = np.array([value for _, value in defined], np.float64)
    clusters = patient_clusters([patient for patient, _ in defined])
    low = high = None
    if clusters.patients >= _LEAST_PATIENTS:
        draws = bootstrap(
            lambda weights: weighted_medians(values, weights[clusters.patient])[:, None],
            clusters,
            resamples=_RESAMPLES,
            seed=seed,
            height=len(values),
        )
        interval = percentile_interval(draws[:, 0])
        low, high = interval.low, interval.high
    return DriftMeasure(name, len(values), clusters.patients, float(np.median(values)), low, high)


def weighted_medians(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the medians of ``(n,)`` values, repeated as each column of ``(n, B)`` whole-numbered weights says.

    Example:
        >>> weighted_medians(np.array([1.0, 5.0, 2.0]), np.array([[1.0, 1], [1, 0], [1, 1]])).tolist()
        [2.0, 1.5]
    """
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order], axis=0)
    half = below[-1] / 2
    lower, upper = (below < half).sum(axis=0), (below <= half).sum(axis=0)
    ordered = values[order]
    return (ordered[lower] + ordered[upper]) / 2


def _notes(
    model: VisionLanguageModel | None, presets: tuple[str, str], patients: Sequence[str] | None
) -> tuple[str, ...]:
    own = [] if model is None else [str(spec["preset"]) for spec in model.bundle.preprocessing if spec.get("preset")]
    notes = [f"the model was trained with {name}, which is not compared" for name in own if name not in presets]
    if patients is None:
        notes.append(
            "the patients are not known: each image counts as one, and intervals are too narrow if it is not so"
        )
    return tuple(notes)


def _nothing(left_out: Sequence[tuple[str, str, str]]) -> str:
    path, name, reason = left_out[0]
    return (
        f"No image can be read by both presets; the first, {path}, is refused by {name} ({reason}): choose presets "
        "that fit the images, `medvlp inspect` tells what they are."
    )


def drift_document(drift: Drift) -> dict[str, object]:
    """Return the JSON form: presets, measures with n, patients and interval, the files left out, each image's values.

    Example:
        >>> drift_document(Drift(("a_v1", "b_v1"), (), (), (), 0, ()))["presets"]
        ['a_v1', 'b_v1']
    """
    return {
        "presets": list(drift.presets),
        "images": len(drift.cases),
        "turned": drift.turned,
        "measures": [
            {**asdict(row), "statistic": "median", "level": 0.95, "method": "patient_bootstrap"}
            for row in drift.measures
        ],
        "left_out": [{"path": path, "preset": name, "reason": reason} for path, name, reason in drift.left_out],
        "notes": list(drift.notes),
        "cases": [{"path": case.path, **case.values} for case in drift.cases],
    }
