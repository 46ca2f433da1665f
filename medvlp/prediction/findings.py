"""What a dual-stream model (`medvlp.models.heads.dual_stream`) says of pictures: findings, places, pairs, and where.

Scores are probabilities by form (a softmax or a sigmoid), not by calibration. A pair's score is the model's answer to
"does this observation lie at this place", learned from the pairs that reports state; existence is asked for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import UserError
from medvlp.core.keys import Plan, parse_key
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch, ImageRecord, Sample, Stack
from medvlp.core.suggest import did_you_mean
from medvlp.core.table import FeatureTable
from medvlp.data.collate import collate
from medvlp.models.heads.dual_stream import DualStream, Streams
from medvlp.text.medslip_findings import abnormal_words, finding_columns, score_names

__all__ = [
    "AttentionMap",
    "Findings",
    "Mounted",
    "Pair",
    "existence_scores",
    "find",
    "locate",
    "mounted_streams",
]


@dataclass(frozen=True)
class Mounted:
    """A dual-stream head in its place.

    Attributes:
        view: of the pictures.
        part: name of the head.
        head: itself.
    """

    view: str
    part: str
    head: DualStream

    def key(self, part: str = "") -> str:
        """Return the key of what it gives."""
        return f"{self.view}/{self.part}" + (f"_{part}" if part else "")

    @property
    def observations(self) -> tuple[str, ...]:
        """Names of the pathologies."""
        return self.head.pathology.names or self.head.pathology.texts

    @property
    def anatomies(self) -> tuple[str, ...]:
        """Names of the anatomies."""
        return self.head.anatomy.names or self.head.anatomy.texts


@dataclass(frozen=True)
class Pair:
    """One observation at one place."""

    observation: str
    anatomy: str
    score: float

    def __str__(self) -> str:
        return f"{_plain(self.observation)} at {_plain(self.anatomy)}: {self.score:.2f}"


@dataclass(frozen=True)
class Findings:
    """What is said of N pictures.

    Attributes:
        observations: names of P observations.
        anatomies: names of A places.
        existence: (N, P) float32 in [0, 1], whether each observation is there.
        places: (N, A) float32 in [0, 1], whether anything is stated of each place.
        pairs: (N, A, P) float32 in [0, 1], whether each observation lies at each place.
    """

    observations: tuple[str, ...]
    anatomies: tuple[str, ...]
    existence: np.ndarray
    places: np.ndarray
    pairs: np.ndarray

    def scores(self, index: int) -> dict[str, float]:
        """Return name -> existence of one picture; a finding's key where the word means just that."""
        return dict(zip(score_names(self.observations), self.existence[index].tolist(), strict=True))

    def stated(self, index: int, *, least: float = 0.5, most: int = 10) -> list[Pair]:
        """Return the pairs of something abnormal with a place, highest first.

        Example:
            >>> one = np.array([[0.9]], np.float32)
            >>> found = Findings(("effusion",), ("left_costophrenic",), one, one, np.array([[[0.87]]], np.float32))
            >>> [str(pair) for pair in found.stated(0)]
            ['effusion at left costophrenic: 0.87']
        """
        columns = abnormal_words(self.observations)
        matrix = self.pairs[index]
        order = sorted(((float(matrix[a, p]), a, p) for a in range(len(matrix)) for p in columns), key=lambda t: -t[0])
        return [Pair(self.observations[p], self.anatomies[a], s) for s, a, p in order[:most] if s >= least]


@dataclass(frozen=True)
class AttentionMap:
    """Where the model looked for a query.

    Attributes:
        values: (rows, columns) float32 of the token grid; they sum to 1.
        box: (x0, y0, x1, y1) of the model's view, in pixels of the source, where it is known.
        score: existence of the query.
    """

    values: np.ndarray
    box: tuple[float, float, float, float] | None
    score: float

    def in_source(self, height: int, width: int, *, mode: str = "bilinear") -> np.ndarray:
        """Return (height, width) float32 over the pixels of the source; 0 where the view does not reach.

        Args:
            height: rows of the source.
            width: its columns.
            mode: ``bilinear``, or ``nearest``: blocks of one value, as the released scripts make them.

        Raises:
            UserError: if it is not known where the view lies in the source.

        Example:
            >>> side = AttentionMap(np.array([[0.25, 0.75]], np.float32), (0.0, -1.0, 4.0, 3.0), 0.5)
            >>> side.in_source(2, 4, mode="nearest").tolist()  # the view is padded above and below
            [[0.25, 0.25, 0.75, 0.75], [0.25, 0.25, 0.75, 0.75]]
        """
        if self.box is None:
            raise UserError("It is not known where this view lies in its source: ask for a map of a file.")
        x0, y0, x1, y1 = self.box
        across = 2 * (np.arange(width) + 0.5 - x0) / (x1 - x0) - 1
        down = 2 * (np.arange(height) + 0.5 - y0) / (y1 - y0) - 1
        inside = (np.abs(down) <= 1)[:, None] & (np.abs(across) <= 1)[None]
        grid = torch.from_numpy(np.stack(np.meshgrid(across, down), axis=-1).astype(np.float32))[None]
        values = torch.from_numpy(self.values)[None, None]
        spread = torch.nn.functional.grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=False)
        return np.where(inside, spread[0, 0].numpy(), 0).astype(np.float32)

    def peak(self) -> tuple[float, float]:
        """Return (x, y) of the middle of the highest cell, in pixels of the source where the view's place is known.

        Example:
            >>> AttentionMap(np.array([[0.25, 0.75]], np.float32), (0.0, 0.0, 40.0, 20.0), 0.5).peak()
            (30.0, 10.0)
        """
        rows, columns = self.values.shape
        row, column = divmod(int(self.values.argmax()), columns)
        x0, y0, x1, y1 = self.box or (0.0, 0.0, 1.0, 1.0)
        return x0 + (column + 0.5) * (x1 - x0) / columns, y0 + (row + 0.5) * (y1 - y0) / rows


def mounted_streams(model: Model) -> Mounted | None:
    """Return the model's dual-stream head on its pictures; None where it has none."""
    for name, head in model.heads.items():
        view, _, part = name.partition("/")
        if isinstance(head, DualStream) and view == model.pictures:
            return Mounted(view, part, head)
    return None


def existence_scores(table: FeatureTable, mounted: Mounted) -> dict[str, np.ndarray]:
    """Return finding -> (R,) existence, of a feature table with the key of the head's pathologies.

    Findings that share a word have the same scores.
    """
    logits = table[mounted.key("pathology")].astype(np.float64)
    present = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
    return {finding: present[:, index] for finding, index in finding_columns(mounted.observations).items()}


def find(model: Model, pixels: Sequence[Tensor | Stack], *, batch: int = 64) -> Findings:
    """Ask a model all of its questions about prepared pictures.

    Raises:
        UserError: if it has no dual-stream head.
    """
    mounted = _mounted(model)
    plan = Plan.of([parse_key(mounted.key(part)) for part in ("", "pathology", "anatomy")])
    found: dict[str, list[np.ndarray]] = {"": [], "pathology": [], "anatomy": []}
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(pixels), batch):
            encoded = model.finish(model(_batch(model, pixels[start : start + batch]), plan), plan)[mounted.view]
            for part, kept in found.items():
                logits = encoded.part(mounted.key(part).partition("/")[2]).float()
                kept.append((logits.softmax(-1)[..., 1] if part else logits.sigmoid()).cpu().numpy())
    joined = {part: np.concatenate(kept) for part, kept in found.items()}
    return Findings(mounted.observations, mounted.anatomies, joined["pathology"], joined["anatomy"], joined[""])


def locate(
    model: Model,
    pixels: Tensor,
    record: ImageRecord | None,
    *,
    observation: str | None = None,
    anatomy: str | None = None,
) -> AttentionMap:
    """Return where in a picture the model looks for an observation, a place, or for one at the other.

    The map is the mean over the decoder's layers and heads of the query's attention to the tokens; of an observation at
    a place, the product of the two maps, at sum 1. It says where the model looked, not what is there.

    Args:
        model: with a dual-stream head.
        pixels: (C, H, W) as the model's preprocessing gives it.
        record: of the picture, to find the way back to its source.
        observation: a word of the model, or a finding.
        anatomy: a place of the model.

    Raises:
        UserError: if the model has no dual-stream head or its tokens form no grid, or nothing that it knows is named.
    """
    mounted = _mounted(model)
    rows = _queries(mounted, observation, anatomy)
    plan = Plan.of([parse_key(f"{mounted.view}/{part}") for part in ("tokens", "mask")])
    with evaluating(model), torch.inference_mode():
        encoded = model(_batch(model, [pixels]), plan)[mounted.view]
        weights: Streams = mounted.head.attention(encoded)
        given = mounted.head(encoded, "m")
    if encoded.grid is None:
        raise UserError("The tokens of this image tower form no grid: there is no map over the picture.")
    maps = {"pathology": weights.pathology, "anatomy": weights.anatomy}
    seen = torch.stack([maps[stream][0, :, row].float().mean(dim=0) for stream, row in rows.items()]).prod(dim=0)
    if len(rows) == 2:
        score = given["m"][0, rows["anatomy"], rows["pathology"]].float().sigmoid()
    else:
        ((stream, row),) = rows.items()
        score = given[f"m_{stream}"][0, row].float().softmax(-1)[1]
    grid = (seen / seen.sum().clamp_min(1e-12)).reshape(encoded.grid).cpu().numpy()
    return AttentionMap(grid, None if record is None else record.box, float(score))


def _queries(mounted: Mounted, observation: str | None, anatomy: str | None) -> dict[str, int]:
    if observation is None and anatomy is None:
        raise UserError("Nothing was asked for: name an observation, a place, or both.")
    rows = {}
    if observation is not None:
        known = {**finding_columns(mounted.observations), **{n: i for i, n in enumerate(mounted.observations)}}
        if observation not in known:
            raise UserError(f"This model knows no observation {observation!r}: {did_you_mean(observation, known)}.")
        rows["pathology"] = known[observation]
    if anatomy is not None:
        if anatomy not in mounted.anatomies:
            raise UserError(f"This model knows no place {anatomy!r}: {did_you_mean(anatomy, mounted.anatomies)}.")
        rows["anatomy"] = mounted.anatomies.index(anatomy)
    return rows


def _mounted(model: Model) -> Mounted:
    mounted = mounted_streams(model)
    if mounted is None:
        raise UserError("This model has no list of findings to ask for (no dual_stream head): use recipe zero_shot.")
    return mounted


def _batch(model: Model, pixels: Sequence[Tensor | Stack]) -> Batch:
    samples = [Sample(str(i), {model.pictures: value}) for i, value in enumerate(pixels)]
    return collate(samples, torch.arange(len(samples))).to(next(model.parameters()).device)


def _plain(name: str) -> str:
    return name.replace("_", " ")
