"""What a dual-stream model (`medvlp.models.heads.dual_stream`) says of pictures: findings, places, pairs, and where.

Scores are probabilities by form (a softmax or a sigmoid), not by calibration. A pair's score is the model's answer to
"does this observation lie at this place", learned from the pairs that reports state; existence is asked for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.keys import Key, Plan, parse_key
from medvlp.core.map import Map
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch, ImageRecord, Sample, Stack
from medvlp.core.suggest import did_you_mean
from medvlp.core.table import FeatureTable
from medvlp.data.collate import collate
from medvlp.features.embed import in_groups
from medvlp.models.heads.dual_stream import DualStream
from medvlp.text.medslip_findings import abnormal_words, finding_columns, score_names

__all__ = [
    "Findings",
    "Gaze",
    "Mounted",
    "Pair",
    "existence_scores",
    "find",
    "gaze",
    "locate",
    "look_at",
    "mounted_at",
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

    def asked(self) -> tuple[Key, Key, Key]:
        """Return the keys of the pairs' logits, those of existence, and those of places."""
        pairs, existence, places = (parse_key(self.key(part)) for part in ("", "pathology", "anatomy"))
        return pairs, existence, places

    def findings(self, answers: Mapping[str, np.ndarray]) -> Findings:
        """Return answers with the names of what was asked, and what of it the model knows."""
        known = [value.cpu().numpy() for value in (self.head.known.pathology, self.head.known_pairs)]
        return Findings(self.observations, self.anatomies, **answers, known=known[0], known_pairs=known[1])

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
        known: (P,) bool, observations that training stated both present and absent; the scores of others mean nothing.
            None: all.
        known_pairs: (A, P) bool, the same of pairs.
    """

    observations: tuple[str, ...]
    anatomies: tuple[str, ...]
    existence: np.ndarray
    places: np.ndarray
    pairs: np.ndarray
    known: np.ndarray | None = None
    known_pairs: np.ndarray | None = None

    def scores(self, index: int) -> dict[str, float]:
        """Return name -> existence of one picture, of known observations; a finding's key where the word means it."""
        found = zip(score_names(self.observations), self.existence[index].tolist(), strict=True)
        return {name: score for q, (name, score) in enumerate(found) if self.known is None or self.known[q]}

    def left_out(self) -> str:
        """Return a sentence on what is not known, empty where all is.

        Example:
            >>> one = np.ones((1, 2), np.float32)
            >>> Findings(("a", "b"), ("c",), one, one[:, :1], one[:, None], np.array([True, False])).left_out()
            '1 of 2 words and 0 of 2 pairs were never both present and absent in training: they are left out.'
        """
        words = 0 if self.known is None else int((~self.known).sum())
        pairs = 0 if self.known_pairs is None else int((~self.known_pairs).sum())
        if not words + pairs:
            return ""
        return (
            f"{words} of {len(self.observations)} words and {pairs} of {len(self.anatomies) * len(self.observations)} "
            "pairs were never both present and absent in training: they are left out."
        )

    def stated(self, index: int, *, least: float = 0.5, most: int = 10) -> list[Pair]:
        """Return the pairs of something abnormal with a place, highest first.

        Of known pairs only, and of observations that are there by themselves: a pair is learnt from what reports place,
        and most of what they place is present.

        Args:
            index: of the picture.
            least: smallest score of a pair and of the observation's existence.
            most: pairs.

        Example:
            >>> one = np.array([[0.9]], np.float32)
            >>> found = Findings(("effusion",), ("left_costophrenic",), one, one, np.array([[[0.87]]], np.float32))
            >>> [str(pair) for pair in found.stated(0)]
            ['effusion at left costophrenic: 0.87']
        """
        columns = [q for q in abnormal_words(self.observations) if self.existence[index, q] >= least]
        matrix = self.pairs[index]
        if self.known_pairs is not None:
            matrix = np.where(self.known_pairs, matrix, -1.0)
        order = sorted(((float(matrix[a, p]), a, p) for a in range(len(matrix)) for p in columns), key=lambda t: -t[0])
        return [Pair(self.observations[p], self.anatomies[a], s) for s, a, p in order[:most] if s >= max(least, 0)]


def mounted_streams(model: Model) -> Mounted | None:
    """Return the model's dual-stream head on its pictures; None where it has none."""
    for name, head in model.heads.items():
        view, _, part = name.partition("/")
        if isinstance(head, DualStream) and view == model.pictures:
            return Mounted(view, part, head)
    return None


def mounted_at(model: Model, head: str) -> Mounted:
    """Return the dual-stream head of a name on the model's pictures.

    Raises:
        ConfigError: if there is none.
    """
    found = dict(model.heads.items()).get(f"{model.pictures}/{head}")
    if not isinstance(found, DualStream):
        raise ConfigError(
            f"This model has no dual_stream head {head!r} on its {model.pictures}: mount it, or ask another."
        )
    return Mounted(model.pictures, head, found)


def look_at(model: Model, head: str, sample: Sample, asked: Sequence[tuple[str, str]]) -> list[Map] | None:
    """Return where the decoder looked for words, each at its place; None without a grid of tokens.

    Args:
        model: with a dual-stream head.
        head: its name.
        sample: prepared, with pixels.
        asked: (finding, place) each; an empty place is none.
    """
    pixels = sample.fields.get(model.pictures)
    if not isinstance(pixels, Tensor):
        return None
    try:
        looked = gaze(model, pixels, None, head=head)
    except UserError:
        return None
    return [looked.at(label, place or None) for label, place in asked]


def existence_scores(table: FeatureTable, mounted: Mounted) -> dict[str, np.ndarray]:
    """Return finding -> (R,) existence, of a feature table with the key of the head's pathologies.

    Findings that share a word have the same scores.
    """
    logits = table[mounted.key("pathology")].astype(np.float64)
    present = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
    return {finding: present[:, index] for finding, index in finding_columns(mounted.observations).items()}


def find(model: Model, pixels: Iterable[Tensor | Stack], *, batch: int = 64) -> Findings:
    """Ask a model all of its questions about prepared pictures, at least one; they are taken group by group.

    Raises:
        UserError: if it has no dual-stream head.
    """
    mounted = _mounted(model)
    plan, found = Plan.of(mounted.asked()), []
    with evaluating(model), torch.inference_mode():
        for group in in_groups(pixels, batch):
            encoded = model.finish(model(_batch(model, group), plan), plan)[mounted.view]
            found.append(_answers(encoded, mounted))
    return mounted.findings({name: np.concatenate([each[name] for each in found]) for name in found[0]})


def _answers(encoded: Encoded, mounted: Mounted) -> dict[str, np.ndarray]:
    pairs, existence, places = (encoded.part(key.part).float() for key in mounted.asked())
    scores = {
        "existence": existence.softmax(-1)[..., 1],
        "places": places.softmax(-1)[..., 1],
        "pairs": pairs.sigmoid(),
    }
    return {name: values.cpu().numpy() for name, values in scores.items()}


@dataclass(frozen=True)
class Gaze:
    """Where a dual-stream model looks in one picture, for everything that it can be asked.

    Attributes:
        mounted: its head.
        maps: stream -> (Q, rows, columns), of each query the mean over the decoder's layers and heads.
        record: of the picture, to find the way back to its source.
        found: of the same picture alone.
    """

    mounted: Mounted
    maps: dict[str, Tensor]
    record: ImageRecord | None
    found: Findings

    def at(self, observation: str | None = None, anatomy: str | None = None) -> Map:
        """Return the map of an observation, a place, or of one at the other: the product of both, at sum 1.

        Raises:
            UserError: if nothing that the model knows is named.
        """
        rows = _queries(self.mounted, observation, anatomy)
        seen = torch.stack([self.maps[stream][row] for stream, row in rows.items()]).prod(dim=0)
        if len(rows) == 2:
            score = self.found.pairs[0, rows["anatomy"], rows["pathology"]]
        else:
            ((stream, row),) = rows.items()
            score = (self.found.existence if stream == "pathology" else self.found.places)[0, row]
        values = (seen / seen.sum().clamp_min(1e-12)).numpy()
        return Map(values, method="gaze", score=float(score)).placed(self.record)


def gaze(model: Model, pixels: Tensor, record: ImageRecord | None, *, head: str | None = None) -> Gaze:
    """Look at a picture once, for maps of as many questions as wanted.

    Args:
        model: with a dual-stream head.
        pixels: (C, H, W) as the model's preprocessing gives it.
        record: of the picture.
        head: name of the head; None: the one there is.

    Raises:
        UserError: if the model has no dual-stream head or its tokens form no grid.
    """
    mounted = _mounted(model) if head is None else mounted_at(model, head)
    plan = Plan.of([*mounted.asked(), *(parse_key(f"{mounted.view}/{part}") for part in ("tokens", "mask"))])
    with evaluating(model), torch.inference_mode():
        encoded = model.finish(model(_batch(model, [pixels]), plan), plan)[mounted.view]
        weights = mounted.head.attention(encoded)
    if encoded.grid is None:
        raise UserError("The tokens of this image tower form no grid: there is no map over the picture.")
    maps = {
        stream: values[0].float().mean(dim=0).reshape(-1, *encoded.grid).cpu()
        for stream, values in (("pathology", weights.pathology), ("anatomy", weights.anatomy))
    }
    return Gaze(mounted, maps, record, mounted.findings(_answers(encoded, mounted)))


def locate(
    model: Model,
    pixels: Tensor,
    record: ImageRecord | None,
    *,
    observation: str | None = None,
    anatomy: str | None = None,
) -> Map:
    """Return where in a picture the model looks for an observation, a place, or for one at the other.

    It says where the model looked, not what is there. See `gaze` for several questions about one picture.

    Args:
        model: with a dual-stream head.
        pixels: (C, H, W) as the model's preprocessing gives it.
        record: of the picture, to find the way back to its source.
        observation: a word of the model, or a finding.
        anatomy: a place of the model.

    Raises:
        UserError: if the model has no dual-stream head or its tokens form no grid, or nothing that it knows is named.
    """
    return gaze(model, pixels, record).at(observation, anatomy)


def _queries(mounted: Mounted, observation: str | None, anatomy: str | None) -> dict[str, int]:
    if observation is None and anatomy is None:
        raise UserError("Nothing was asked for: name an observation, a place, or both.")
    rows = {}
    if observation is not None:
        known = {**finding_columns(mounted.observations), **{n: i for i, n in enumerate(mounted.observations)}}
        known = {**{name: i for i, name in enumerate(score_names(mounted.observations))}, **known}
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
