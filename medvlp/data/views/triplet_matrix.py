"""``triplet_matrix``: what is stated of a study, as the flattened anatomy-observation matrix that MeDSLIP learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.contents import stamp_of
from medvlp.data.views._triplet_entries import (
    PRESENCE,
    Entries,
    Rules,
    entries_of_file,
    entries_of_labels,
    entries_of_report,
)
from medvlp.text.medslip_matrix import UncertainPolicy
from medvlp.text.medslip_mirror import mirror_matrix
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary


@dataclass(frozen=True, kw_only=True)
class TripletMatrix:
    """Write `to`: (51 x 75,) float32, 1 present, 0 absent, -1 not mentioned, row by row of the vocabulary.

    A sample of which nothing is known (no report, no label) gets none. It belongs into the suffix, before views that
    shorten the report, and behind one that mirrors: of a mirrored picture (its record tells) the rows of left and right
    landmarks have changed places, unless they come from words, which were mirrored too.

    Attributes:
        source: ``report``: medvlp's own reader on the text of `field`; ``labels``: the sample's ``label`` fields, each
            at the usual place of its finding; ``file``: what `medvlp data triplets` wrote, by ``id.study``.
        file: with ``file``: triplets (``.jsonl``) or matrices (``.npz``).
        missing: with ``file``: a study that it lacks is an error, or is left without a matrix.
        field: with ``report``: the text field.
        labels: with ``labels``: the findings used; all where none is named.
        uncertain: what uncertain statements do, see `matrix_of` of `medvlp.text.medslip_matrix`; decided in ``.npz``.
        both_sides: a bilateral finding of medvlp's reader stands in the left and in the right row.
        midlung_right: see `matrix_of`.
        vocabulary: version of the 51 and 75 words.
        image: the picture whose record tells of mirroring.
        to: the vector field that is written.

    Raises:
        ConfigError: if a field is of another kind, or a file is named without being the source, or the other way round.

    Example:
        >>> view = TripletMatrix()
        >>> matrix = view(Sample("a", {"text": "Left effusion."}), torch.Generator()).fields["vector.triplets"]
        >>> matrix.shape, [divmod(int(i), 75) for i in matrix.eq(1).nonzero()]
        (torch.Size([3825]), [(4, 8)])
    """

    # Not random, but a function of more than a record's files and words: the cached prefix cannot know when it changed.
    random: ClassVar[bool] = True

    source: Literal["report", "labels", "file"] = "report"
    file: str | None = None
    missing: Literal["error", "skip"] = "error"
    field: str = "text"
    labels: tuple[str, ...] = ()
    uncertain: UncertainPolicy = "ignore"
    both_sides: bool = False
    midlung_right: bool = False
    vocabulary: str = "v1"
    image: str = "image"
    to: str = "vector.triplets"

    def __post_init__(self) -> None:
        kinds = [parse_field(name).kind for name in (self.field, self.image, self.to)]
        if kinds[0] != "text" or kinds[1] not in ("image", "stack") or kinds[2] != "vector":
            raise ConfigError(
                f"triplet_matrix reads a text field, looks at an image and writes a vector field, not {self.field!r}, "
                f"{self.image!r} and {self.to!r}: change these."
            )
        if (self.file is not None) != (self.source == "file"):
            raise ConfigError(
                f"triplet_matrix has source {self.source!r} and file {self.file!r}: name a file with source: file, and "
                "with it alone."
            )
        load_medslip_vocabulary(self.vocabulary)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Add the matrix."""
        entries = self._entries(sample)
        if entries is None:
            return sample
        words = load_medslip_vocabulary(self.vocabulary)
        matrix = np.full(len(words.anatomies) * len(words.observations), -1.0, dtype=np.float32)
        matrix[entries[0]] = entries[1]
        record = sample.record(self.image)
        if record is not None and record.flip and self.source != "report":
            shape = (len(words.anatomies), len(words.observations))
            matrix = mirror_matrix(matrix.reshape(shape), words.anatomies).ravel()
        return Sample(sample.id, {**sample.fields, self.to: torch.from_numpy(matrix)}, sample.records)

    def _entries(self, sample: Sample) -> Entries | None:
        rules = Rules(self.uncertain, self.midlung_right, self.both_sides, self.vocabulary)
        if self.source == "report":
            value = sample.fields.get(self.field)
            text = "\n".join(value) if isinstance(value, tuple) else value
            return entries_of_report(text, rules) if isinstance(text, str) and text.strip() else None
        if self.source == "labels":
            wanted = self.labels or [n.partition(".")[2] for n in sample.fields if n.startswith("label.")]
            values = {name: sample.fields.get(f"label.{name}") for name in sorted(wanted)}
            known = tuple(
                (name, float(v)) for name, v in values.items() if isinstance(v, int | float) and v in PRESENCE
            )
            return entries_of_labels(known, rules) if known else None
        study = sample.fields.get("id.study")
        if not isinstance(study, str):
            raise DataError(
                f"triplet_matrix looks a study up in {self.file} and the sample {sample.id!r} has no id.study: give "
                "the manifest that column."
            )
        found = entries_of_file(str(self.file), rules, stamp_of(Path(str(self.file)).expanduser())).get(study)
        if found is None and self.missing == "error":
            raise DataError(
                f"{self.file} has no line of the study of sample {sample.id!r}: make it from this cohort's reports, "
                "or set missing: skip if some have none."
            )
        return found
