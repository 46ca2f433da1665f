"""What a model says of pictures, whichever answer said it: `Predictions`, and the forms of a place in a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medvlp.core.errors import DataError

if TYPE_CHECKING:
    from medvlp.core.sample import Matrix


@dataclass(frozen=True, eq=False)
class Mask:
    """A region of a picture as run lengths: a few hundred numbers, where the pixels would be millions.

    Attributes:
        shape: (H, W) of an image's file, (Z, Y, X) of a volume.
        runs: lengths of 0 and 1 in turn, first 0, along the last axis first (C order); they fill the shape.
        world: voxel (i, j, k) of a volume -> RAS mm, (3, 4); None where there is no place.
        shown: runs of the voxels of one slice, where the model was shown no more of a volume.

    Raises:
        DataError: if the runs do not fill the shape.

    Example:
        >>> mask = Mask.of(np.array([[0, 1, 1], [1, 0, 0]], dtype=bool))
        >>> mask.runs.tolist(), mask.array().astype(int).tolist()
        ([1, 3, 2], [[0, 1, 1], [1, 0, 0]])
    """

    shape: tuple[int, ...]
    runs: NDArray[np.int64]
    world: Matrix | None = None
    shown: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if int(self.runs.sum()) != int(np.prod(self.shape)):
            raise DataError(f"The runs of a mask cover {int(self.runs.sum())} pixels, its shape is {self.shape}.")

    @classmethod
    def of(cls, values: NDArray[np.bool_], *, world: Matrix | None = None) -> Mask:
        """Compress an array."""
        flat = np.asarray(values, dtype=bool).reshape(-1)
        edges = np.flatnonzero(np.diff(flat, prepend=False)) if len(flat) else np.zeros(0, np.int64)
        return cls(tuple(values.shape), np.diff(np.concatenate([[0], edges, [len(flat)]])).astype(np.int64), world)

    def array(self) -> NDArray[np.bool_]:
        """Return the pixels, bool of `shape`."""
        return np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs).reshape(self.shape)


@dataclass(frozen=True, eq=False)
class BoxSet:
    """Boxes of one picture.

    Attributes:
        boxes: (n, 4) x0, y0, x1, y1 in pixels of an image's file; (n, 6) x0, y0, z0, x1, y1, z1 in voxels of a volume.
        scores: (n,) higher is surer.
        labels: n findings.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RelationSet:
    """Relations between places of one picture, surest first.

    Attributes:
        boxes: (n, 8) the subject's x0, y0, x1, y1 in pixels of the file, then the object's.
        scores: (n,) higher is surer.
        subject_scores: (n,) of the subject without its relation.
        triplets: n of subject, predicate, object.
        entities: which subjects and objects there might have been.
        predicates: likewise.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    subject_scores: NDArray[np.float64]
    triplets: tuple[tuple[str, str, str], ...]
    entities: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PairScores:
    """Scores of pairs: which finding lies at which anatomical place.

    Attributes:
        places: A names.
        findings: P names.
        values: (N, A, P) in [0, 1].
        known: (A, P) bool, what the model can tell and is worth stating; None: all of it.
        present: (N, P) in [0, 1], whether the finding is there at all; None where nobody asked.
    """

    places: tuple[str, ...]
    findings: tuple[str, ...]
    values: NDArray[np.float32]
    known: NDArray[np.bool_] | None = None
    present: NDArray[np.float32] | None = None

    def stated(self, index: int, *, least: float = 0.5, most: int = 10) -> list[tuple[str, str, float]]:
        """Return (finding, place, score) of the known pairs of a row, highest first.

        Args:
            index: of the row.
            least: smallest score of a pair, and of its finding's presence.
            most: pairs.

        Example:
            >>> one = np.full((1, 1, 1), 0.87, np.float32)
            >>> said = PairScores(("left_lung",), ("effusion",), one).stated(0)[0]
            >>> said[0], said[1], round(said[2], 2)
            ('effusion', 'left_lung', 0.87)
        """
        values = self.values[index].astype(np.float64)
        if self.known is not None:
            values = np.where(self.known, values, -1.0)
        if self.present is not None:
            values = np.where(self.present[index][None] >= least, values, -1.0)
        order = np.argsort(-values, axis=None, kind="stable")[:most]
        found = [(*divmod(int(at), values.shape[1]), float(values.flat[at])) for at in order]
        return [(self.findings[p], self.places[a], score) for a, p, score in found if score >= max(least, 0)]

    def rows(self, index: list[int]) -> PairScores:
        """Return some rows."""
        present = None if self.present is None else self.present[index]
        return replace(self, values=self.values[index], present=present)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What an answer says of N pictures; one row an image, volume or study, each part optional.

    Attributes:
        ids: N sample ids.
        scores: finding -> (N,), higher is more likely there; NaN where a row has no picture.
        embedding: (N, D) at unit length.
        similarity: (N, M) of the rows with M texts: those asked for, or the rows' own.
        compared: these M texts.
        pairs: what lies where.
        maps: finding -> N arrays over the pixels of each file: where the model looked.
        boxes: N sets.
        relations: N sets.
        masks: N mappings finding -> mask, in the pixels of each file (voxels of a volume, in its stored order).
        text: N words of the model, empty where it said nothing.
        notes: sentences that a reader has to know of all rows.

    Raises:
        DataError: if a part has another number of rows than there are ids.

    Example:
        >>> said = Predictions(("a", "b"), scores={"effusion": np.array([0.1, 0.9])})
        >>> said.parts(), said.rows([1]).scores["effusion"].tolist()
        (('scores',), [0.9])
    """

    ids: tuple[str, ...]
    scores: Mapping[str, NDArray[np.floating]] | None = None
    embedding: NDArray[np.float32] | None = None
    similarity: NDArray[np.floating] | None = None
    compared: tuple[str, ...] = ()
    pairs: PairScores | None = None
    maps: Mapping[str, tuple[NDArray[np.float32], ...]] | None = None
    boxes: tuple[BoxSet, ...] | None = None
    relations: tuple[RelationSet, ...] | None = None
    masks: tuple[Mapping[str, Mask], ...] | None = None
    text: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = {name: len(values) for name, values in (self.scores or {}).items()}
        counts |= {name: len(values) for name, values in (self.maps or {}).items()}
        plain = ("embedding", "similarity", "boxes", "relations", "masks", "text")
        counts |= {name: len(getattr(self, name)) for name in plain if getattr(self, name) is not None}
        counts |= {} if self.pairs is None else {"pairs": len(self.pairs.values)}
        for name, count in counts.items():
            if count != len(self.ids):
                raise DataError(f"Predictions of {len(self.ids)} rows have {count} of {name!r}.")

    def parts(self) -> tuple[str, ...]:
        """Names of the parts that are there."""
        names = (f.name for f in fields(self) if f.name not in ("ids", "compared", "notes"))
        return tuple(name for name in names if getattr(self, name) is not None)

    def rows(self, index: list[int]) -> Predictions:
        """Return some rows."""
        parts = {name: _some(getattr(self, name), index) for name in self.parts()}
        return replace(self, ids=_some(self.ids, index), **parts)

    @classmethod
    def join(cls, pieces: list[Predictions]) -> Predictions:
        """Put predictions of one answer, made group by group, end to end.

        Example:
            >>> one, two = Predictions(("a",), text=("clear",)), Predictions(("b",), text=("",))
            >>> Predictions.join([one, two]).text
            ('clear', '')
        """
        notes = tuple(dict.fromkeys(note for piece in pieces for note in piece.notes))
        parts = {name: _joined([getattr(piece, name) for piece in pieces]) for name in pieces[0].parts()}
        return replace(pieces[0], ids=_joined([piece.ids for piece in pieces]), notes=notes, **parts)


def _some(part: Any, index: list[int]) -> Any:  # noqa: ANN401
    """Some rows of a part in any of its forms."""
    if isinstance(part, PairScores):
        return part.rows(index)
    if isinstance(part, Mapping):
        return {name: _some(values, index) for name, values in part.items()}
    return part[index] if isinstance(part, np.ndarray) else tuple(part[i] for i in index)


def _joined(parts: list[Any]) -> Any:  # noqa: ANN401
    """Parts of several predictions end to end."""
    first = parts[0]
    if isinstance(first, PairScores):
        present = None if first.present is None else np.concatenate([part.present for part in parts])
        return replace(first, values=np.concatenate([part.values for part in parts]), present=present)
    if isinstance(first, Mapping):
        return {name: _joined([part[name] for part in parts]) for name in first}
    return np.concatenate(parts) if isinstance(first, np.ndarray) else tuple(row for part in parts for row in part)
