"""Whether scores follow the coarse form of a picture or its fine detail, where the two come from different patients."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from torch import Tensor

from medvlp.core.answers import Ask
from medvlp.core.errors import UserError
from medvlp.core.randomness import numpy_generator
from medvlp.core.sample import Sample
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.metric_row import share_row
from medvlp.evaluation.results import Counts, Metric, Result
from medvlp.evaluation.robustness.evaluate import evaluate_robustness
from medvlp.measures._changed_pictures import ChangedPictures, frontal_cases, scored_pictures
from medvlp.measures._grounding_maps import evenly
from medvlp.statistics.proportions import share_of

logger = logging.getLogger(__name__)
Pixels = NDArray[np.float32]


class ShapeTexture(Measure):
    """Cue conflict for radiographs, of the first answer that gives scores: ``shape_share`` of each finding, and pooled.

    A picture with a finding and one without it are mixed both ways: the coarse form of the first with the fine detail
    of the second, and the reverse. The form decides where the first mixture scores higher. ``shape_share`` is the share
    of such pairs (ties are half): 1 where form decides, 0 where detail does, 0.5 where neither prevails, without any
    threshold; `label` ``micro`` is of all findings' pairs, and intervals are over the patients with the finding. Beside
    it the fall of AUROC (``auroc_difference``) on pictures with their form only (``low_pass``) and with their detail
    only, cut into cells that change places (``shuffled``). See `medvlp.measures.shape_texture`.

    Args:
        cases: frontal pictures, evenly chosen.
        pairs: of a finding, at most; no picture is in two of one finding.
        coarse: standard deviation of the filter, as a share of the side.
        cells: along each side of a shuffled picture.
        min_positives: positive records that a finding needs to take part in a macro average.

    References:
        Geirhos et al. 2019 (cue conflict, share of decisions by shape); Tu et al. 2024 (one axis of a holistic report).

    Note:
        Neither is right: oedema is detail, cardiomegaly is form. A share that a finding's nature does not explain, such
        as detail for cardiomegaly, speaks of a shortcut.

    Example:
        >>> ShapeTexture(pairs=5).coarse
        0.02
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 92

    def __init__(
        self,
        *,
        cases: Annotated[int, Field(ge=1)] = 200,
        pairs: Annotated[int, Field(ge=1)] = 20,
        coarse: Annotated[float, Field(gt=0)] = 0.02,
        cells: Annotated[int, Field(ge=2)] = 8,
        min_positives: Annotated[int, Field(ge=1)] = 10,
    ) -> None:
        self.cases, self.pairs, self.coarse, self.cells, self.min_positives = cases, pairs, coarse, cells, min_positives

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield one result; nothing without pictures that are scored."""
        scored, judged = scored_pictures(evaluation), evaluation.judged
        cases = [] if scored is None else frontal_cases(judged.manifest, judged.table[evaluation.features], self.cases)
        if scored is None or not cases:
            logger.info("No test of shape and texture: it needs pictures, and an answer that gives scores of them.")
            return
        pictures = {at: _pixels(judged.prepared.sample(at)) for at in cases}
        asked, seed, ids = ChangedPictures(evaluation, scored[1]), evaluation.options.seed, judged.table.ids
        kinds = (
            ("", "", lambda at: pictures[at]),
            ("low_pass", f"{self.coarse:g}", lambda at: low_pass(pictures[at], self.coarse)),
            ("shuffled", f"{self.cells}", lambda at: shuffled(pictures[at], self.cells, name=ids[at], seed=seed)),
        )
        clean, *changed = (
            asked.condition(factor, level, cases, (_sample(str(at), made(at)) for at in cases))
            for factor, level, made in kinds
        )
        found = evaluate_robustness(clean, changed, min_positives=self.min_positives, **evaluation.facts)
        title = "Shape or texture: coarse form against fine detail"
        rows = self._shares(evaluation, asked, pictures)
        yield replace(found, name="shape_texture", title=title, metrics=(*found.metrics, *rows))

    def _shares(self, evaluation: Evaluation, asked: ChangedPictures, pictures: dict[int, Pixels]) -> list[Metric]:
        manifest, rows = evaluation.judged.manifest, list(pictures)
        people = np.unique(np.asarray(manifest.column("id.patient"), str), return_inverse=True)[1]
        truths = {
            label: np.asarray(manifest.column(f"label.{label}"), float)[rows]
            for label in asked.answer.labels
            if f"label.{label}" in manifest
        }
        pairs = {
            label: found for label, truth in truths.items() if (found := _pairs(truth, people[rows], rows, self.pairs))
        }

        def mixed() -> Iterator[Sample]:
            for label, own in pairs.items():
                for a, b in own:
                    yield _sample(f"{label} {a} form", in_conflict(pictures[a], pictures[b], self.coarse))
                    yield _sample(f"{label} {a} detail", in_conflict(pictures[b], pictures[a], self.coarse))

        scores = asked.scores(mixed(), Ask(findings=asked.answer.labels)) if pairs else {}
        made, first, every = [], 0, []
        for label, own in pairs.items():
            values = scores[label][first : first + 2 * len(own)].reshape(-1, 2)
            first += 2 * len(own)
            wins = np.where(values[:, 0] == values[:, 1], 0.5, values[:, 0] > values[:, 1])
            every.append((label, wins, people[[a for a, _ in own]]))
        if every:
            every.append(("micro", np.concatenate([w for _, w, _ in every]), np.concatenate([p for _, _, p in every])))
        for label, wins, who in every:
            counts = Counts(n=0, patients=0, positives=int(wins.sum()))
            row = Metric(metric="shape_share", label=label, value=None, split=evaluation.options.split, counts=counts)
            made.append(share_row(row, share_of(wins, np.unique(who, return_inverse=True)[1])))
        return made


def _pairs(truth: np.ndarray, people: np.ndarray, rows: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Return pairs (row with the finding, row without it) of two patients, evenly from both sides, no row twice."""
    present, absent = (np.flatnonzero(truth == value).tolist() for value in (1, 0))
    count = min(most, len(present), len(absent))
    pairs: dict[int, int] = {}
    for at, place in zip(evenly(len(present), count), evenly(len(absent), count), strict=True):
        own = present[at]
        others = [each for each in absent[place:] + absent[:place] if people[each] != people[own]]
        free = next((each for each in others if each not in pairs.values()), None)
        if free is not None:
            pairs[own] = free
    return [(rows[a], rows[b]) for a, b in pairs.items()]


def _pixels(sample: Sample) -> Pixels:
    pixels = sample.fields["image"]
    if not isinstance(pixels, Tensor):
        raise UserError(f"{sample.id!r} has no pixels to change: leave shape_texture out.")
    return pixels.numpy()


def _sample(name: str, pixels: Pixels) -> Sample:
    return Sample(name, {"image": torch.from_numpy(pixels)})


def low_pass(pixels: Pixels, coarse: float) -> Pixels:
    """Return (C, H, W) without its detail.

    Args:
        pixels: (C, H, W) in [0, 1].
        coarse: standard deviation of the filter, as a share of the shorter side.
    """
    sigma = coarse * min(pixels.shape[1:])
    return ndimage.gaussian_filter(pixels, (0, sigma, sigma), mode="nearest").astype(np.float32)


def shuffled(pixels: Pixels, cells: int, *, name: str, seed: int = 0) -> Pixels:
    """Return (C, H, W) cut into cells x cells equal pieces, which change places; what is left over at the edges stays.

    Args:
        pixels: (C, H, W).
        cells: along each side.
        name: of the picture: the same one is always shuffled alike.
        seed: of the evaluation.

    Example:
        >>> grid = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
        >>> moved = shuffled(grid, 2, name="a")
        >>> sorted(moved.flatten().tolist()) == grid.flatten().tolist(), bool((moved == grid).all())
        (True, False)
    """
    high, wide = (side // cells for side in pixels.shape[1:])
    out = pixels.copy()
    order = numpy_generator(seed, 0, f"shuffled {name}").permutation(cells * cells)
    for to, source in enumerate(order.tolist()):
        (i, j), (k, m) = divmod(to, cells), divmod(source, cells)
        piece = pixels[:, k * high : (k + 1) * high, m * wide : (m + 1) * wide]
        out[:, i * high : (i + 1) * high, j * wide : (j + 1) * wide] = piece
    return out


def in_conflict(form: Pixels, detail: Pixels, coarse: float) -> Pixels:
    """Return the coarse form of one picture (C, H, W) with the fine detail of another, cut to [0, 1].

    Example:
        >>> flat, striped = np.full((1, 8, 8), 0.25, np.float32), np.tile(np.float32([0.0, 1.0]), (1, 8, 4))
        >>> mixed = in_conflict(flat, striped, 1.0)
        >>> float(in_conflict(flat, flat, 1.0).mean()), bool(mixed[0, 0, 1] > mixed[0, 0, 0])
        (0.25, True)
    """
    return np.clip(low_pass(form, coarse) + detail - low_pass(detail, coarse), 0, 1).astype(np.float32)
