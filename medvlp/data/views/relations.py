"""``relations``: which (subject, predicate, object) a study states, as a matrix over the words that a model learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.contents import Stamp, stamp_of
from medvlp.data.views._options import WHOLE, require, texts_of
from medvlp.text.language import is_blank, is_english
from medvlp.text.mention_triplets import of_report
from medvlp.text.radgraph import read_radgraph
from medvlp.text.relations import Stated, relation_matrix, stated_by_edges, stated_by_triplets
from medvlp.text.triplet_files import read_triplets


@dataclass(frozen=True, kw_only=True)
class Relations:
    """Write `to`, (E P E,) float32: 1 present, 1/2 uncertain, 0 absent, -1 not mentioned; subject first, object last.

    Statements are those of `file`, by ``id.study``, or where there is none what medvlp's reader finds in the report,
    of ``text`` as it was before ``sentences`` or ``rewrite``: findings ``located_at`` their places. A RadGraph file
    (``.json``) also has ``modify`` and ``suggestive_of`` between its words; triplets (``.jsonl``, of `medvlp data
    triplets`) have places alone. A sample without report, with one in another language than English, or whose study the
    file lacks, gets no matrix: nothing is known of it.

    Attributes:
        labels: E entities, findings and places, words joined by ``_``: ``effusion``, ``left_pleural_space``.
        predicates: P.
        file: None: the report.
        field: of the report.
        to: the vector field that is written.

    Raises:
        ConfigError: for fields of another kind, or words that stand twice.

    Note:
        A report mentions what matters, not all that is true: -1 is no "no".

    Example:
        >>> view = Relations(labels=("effusion", "left_pleural_space"), predicates=("located_at",))
        >>> view(Sample("a", {"text": "Left effusion."}), torch.Generator()).fields["vector.relations"].tolist()
        [-1.0, 1.0, -1.0, -1.0]
    """

    # A function of a file that the cached prefix does not know of.
    random: ClassVar[bool] = True

    labels: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ("located_at",)
    file: str | None = None
    field: str = "text"
    to: str = "vector.relations"

    def __post_init__(self) -> None:
        fits = parse_field(self.field).kind == "text" and parse_field(self.to).kind == "vector"
        require(self, fits, "reads a text and writes a vector field")
        for words in (self.labels, self.predicates):
            if len(set(words)) < len(words):
                raise ConfigError(f"relations knows the words {list(words)}: name each once.")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Add the matrix."""
        matrix = self.matrix(sample)
        if matrix is None:
            return sample
        return Sample(sample.id, {**sample.fields, self.to: matrix.flatten()}, sample.records)

    def matrix(self, sample: Sample) -> Tensor | None:
        """Return (E, P, E) of a sample; None where nothing is known of it."""
        stated: tuple[Stated, ...] | None
        if self.file is not None:
            study = sample.fields.get("id.study")
            if not isinstance(study, str):
                raise DataError(
                    f"relations looks a study up in {self.file} and the sample {sample.id!r} has no id.study: give the "
                    "manifest that column."
                )
            stated = _of_file(self.file, stamp_of(Path(self.file).expanduser())).get(study)
        else:
            whole = self.field == "text" and WHOLE in sample.fields
            text = "\n".join(texts_of(sample.fields, WHOLE if whole else self.field))
            stated = _of_report(text) if not is_blank(text) and is_english(text) else None
        return None if stated is None else relation_matrix(stated, self.labels, self.predicates)


@lru_cache(maxsize=1 << 16)
def _of_report(text: str) -> tuple[Stated, ...]:
    return tuple(stated_by_triplets(of_report(text, study_id="0")))


@lru_cache(maxsize=4)
def _of_file(file: str, stamp: Stamp | None) -> Mapping[str, tuple[Stated, ...]]:
    path = Path(file).expanduser()
    if path.suffix == ".json":
        return {report.study_id: tuple(stated_by_edges(report)) for report in read_radgraph(path)}
    return {study.study_id: tuple(stated_by_triplets(study)) for study in read_triplets(path)}
