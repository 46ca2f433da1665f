"""How far two presets are apart on one set of images: in pixels, in gray levels, and in what a model makes of them.

A model that learned from one preset and is served another sees other images than it knows; this puts a number on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.core.errors import DataError, UserError
from medvlp.data.manifest import Manifest
from medvlp.data.picture_files import MANIFESTS, files_below
from medvlp.io.errors import UnreadableImage
from medvlp.io.presets import preset_info
from medvlp.io.read import read_image
from medvlp.statistics.bootstrap import bootstrap, patient_clusters, percentile_interval
from medvlp.statistics.ranks import weighted_medians

_LEVELS = 1020  # a multiple of 255: 8-bit grays fall on levels exactly
_LEAST_PATIENTS = 6  # a 95 % interval of a median needs as many: 2 / 2**6 < 0.05
_BATCH = 32  # images in memory at once, by both presets
_UNKNOWN = "the patients are not known of {} images: each counts as one, and intervals are too narrow if it is not so"
Reading = tuple[str, str, tuple[np.ndarray, np.ndarray]]


def compare_presets(
    paths: Sequence[Path],
    presets: tuple[str, str],
    *,
    patients: Sequence[str | None] | None = None,
    model: VisionLanguageModel | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Read each image by two presets and compare what comes out.

    Args:
        paths: image files.
        presets: two names, see ``medvlp.io.preset_names``.
        patients: the patient of each image; None, of one or of all: the image is its own.
        model: whose embeddings are compared; None leaves them out.
        progress: called with (images done, images).

    Returns:
        ``measures``, one row each with n, patients, median and its 95 % interval over patients (None below 6 of them):
        ``difference``, mean absolute difference of pixels (0 to 1), and ``correlation``, Pearson's, at the image's own
        size; ``histogram``, Wasserstein distance of gray values on 1021 levels (0 to 1); ``cosine`` of embeddings.
        ``cases``, the same of each image, None where it is not defined (constant pixels, readings of two shapes);
        ``left_out``, files that a preset refused; ``turned``, images that one preset turns to another shape; ``notes``.

    Raises:
        UserError: a preset does not exist, or both are the same.
        DataError: no image can be read by both.
    """
    for name in presets:
        preset_info(name)
    if presets[0] == presets[1]:
        raise UserError(f"Both presets are {presets[0]}: name two different ones.")
    known = list(patients or [None] * len(paths))
    owners = [str(path) if owner is None else owner for path, owner in zip(paths, known, strict=True)]
    cases, people, left_out, turned = [], [], [], 0
    readings = _readings(paths, owners, presets, left_out, progress)
    while group := list(islice(readings, _BATCH)):
        values = [_values(*pair) for _, _, pair in group]
        if model is not None:
            one, other = (model.embed_prepared([model.prepare(pair[k]).pixels for _, _, pair in group]) for k in (0, 1))
            cosines = np.sum(one.astype(np.float64) * other, axis=1)
            values = [{**each, "cosine": float(cosine)} for each, cosine in zip(values, cosines, strict=True)]
        turned += sum(a.shape != b.shape for _, _, (a, b) in group)
        people += [owner for _, owner, _ in group]
        cases += [{"path": path, **each} for (path, _, _), each in zip(group, values, strict=True)]
    if not cases:
        raise DataError(
            f"No image can be read by both presets; the first, {left_out[0]['path']}, is refused by "
            f"{left_out[0]['preset']} ({left_out[0]['reason']}): choose presets that fit the images, "
            "`medvlp inspect` tells what they are."
        )
    own = [] if model is None else [str(spec["preset"]) for spec in model.bundle.preprocessing if spec.get("preset")]
    notes = [f"the model was trained with {name}, which is not compared" for name in own if name not in presets]
    nobodys = sum(who == case["path"] for who, case in zip(people, cases, strict=True))
    return {
        "presets": list(presets),
        "images": len(cases),
        "turned": turned,
        "measures": [_measure(name, cases, people) for name in cases[0] if name != "path"],
        "left_out": left_out,
        "notes": [*notes, *([_UNKNOWN.format(nobodys)] if nobodys else [])],
        "cases": cases,
    }


def image_files(paths: Sequence[Path], *, root: Path | None = None) -> tuple[list[Path], list[str | None] | None]:
    """Return image files and the patient of each, None where nobody says.

    Args:
        paths: files, folders (all files below them), or one manifest, whose column ``id.patient`` names the patients.
        root: folder of the manifest's images; default: as it says.

    Raises:
        DataError: there is no image.
    """
    if len(paths) == 1 and paths[0].suffix.lower() in MANIFESTS:
        manifest = Manifest.load(paths[0], root=root)
        rows = range(len(manifest)) if "image" in manifest else ()
        there = [(k, path) for k in rows if (path := manifest.path(k)) is not None]
        owners = manifest.column("id.patient") if "id.patient" in manifest else None
        found, patients = [path for _, path in there], None if owners is None else [owners[k] for k, _ in there]
    else:
        found, patients = [path for each in paths for path in (files_below(each) if each.is_dir() else [each])], None
    if not found:
        raise DataError(
            f"There is no image to compare presets on in {', '.join(map(str, paths))}: name files, a folder with "
            "files, or a manifest with a column 'image'."
        )
    return found, patients


def _readings(
    paths: Sequence[Path],
    owners: Sequence[str],
    presets: tuple[str, str],
    left_out: list[dict[str, str]],
    progress: Callable[[int, int], None],
) -> Iterator[Reading]:
    for done, (path, owner) in enumerate(zip(paths, owners, strict=True), start=1):
        pixels = []
        for name in presets:
            try:
                pixels.append(read_image(path, preset=name).pixels)
            except UnreadableImage as error:
                left_out.append({"path": str(path), "preset": name, "reason": error.reason})
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
    counts = [np.bincount(np.rint(x * _LEVELS).astype(np.int64).ravel(), minlength=_LEVELS + 1) for x in (a, b)]
    levels = np.arange(_LEVELS + 1) / _LEVELS
    histogram = float(wasserstein_distance(levels, levels, counts[0], counts[1]))
    return {"difference": difference, "correlation": correlation, "histogram": histogram}


def _measure(name: str, cases: Sequence[dict[str, Any]], people: Sequence[str]) -> dict[str, Any]:
    defined = [row for row, case in enumerate(cases) if case[name] is not None]
    values = np.array([cases[row][name] for row in defined], np.float64)
    clusters = patient_clusters([people[row] for row in defined])
    low = high = None
    if clusters.patients >= _LEAST_PATIENTS:
        draws = bootstrap(
            lambda weights: weighted_medians(values, weights[clusters.patient])[:, None],
            clusters,
            resamples=2000,
            seed=0,
            height=len(values),
        )
        interval = percentile_interval(draws[:, 0])
        low, high = interval.low, interval.high
    row = {"measure": name, "n": len(values), "patients": clusters.patients if defined else 0}
    row |= {"median": float(np.median(values)) if defined else None, "low": low, "high": high}
    return {**row, "statistic": "median", "level": 0.95, "method": "patient_bootstrap"}
