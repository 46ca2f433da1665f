"""``triplet_matrix``: what is stated of a study, as the flattened anatomy-observation matrix that MeDSLIP learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.core.triplet import Presence, Triplet
from medvlp.data.contents import Stamp, stamp_of
from medvlp.text.lemmas import Lemmatiser
from medvlp.text.medslip_matrix import UncertainPolicy, load_matrix, matrix_of, mirror_matrix
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.text.mention_triplets import of_report
from medvlp.text.triplet_files import StatedTriplet, StudyTriplets, read_triplets

PRESENCE: dict[float, Presence] = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}
# Places in the flat matrix and values of the entries that say something, int16 and float32.
Entries = tuple[np.ndarray, np.ndarray]


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


class Rules(NamedTuple):
    """How triplets fill a matrix, see `matrix_of` of `medvlp.text.medslip_matrix`; the vocabulary by its version."""

    uncertain: UncertainPolicy
    midlung_right: bool
    both_sides: bool
    vocabulary: str


@lru_cache(maxsize=1 << 17)
def entries_of_report(text: str, rules: Rules) -> Entries:
    """Return what medvlp's own reader finds in a report."""
    return _read(of_report(text, study_id="0"), rules)


@lru_cache(maxsize=1 << 14)
def entries_of_labels(labels: tuple[tuple[str, float], ...], rules: Rules) -> Entries:
    """Return labels at the usual places of their findings; the values are those of `PRESENCE`."""
    triplets = (StatedTriplet(Triplet("", "", name, PRESENCE[value], "", "")) for name, value in labels)
    return _read(StudyTriplets("0", "", "rules", tuple(triplets)), rules)


@lru_cache(maxsize=8)
def entries_of_file(file: str, rules: Rules, stamp: Stamp | None) -> Mapping[str, Entries]:
    """Return study -> entries of a file of triplets (``.jsonl``) or matrices (``.npz``), stored by its `stamp` too.

    Raises:
        DataError: for matrices of another vocabulary, or a study on two lines.
    """
    path = Path(file).expanduser()
    if path.suffix == ".npz":
        held = load_matrix(path)
        if held.sha256 != load_medslip_vocabulary(rules.vocabulary).sha256:
            raise DataError(f"{path} was made with another vocabulary than {rules.vocabulary}: make it again.")
        return {study: _stated(matrix) for study, matrix in zip(held.study_ids, held.values, strict=True)}
    return {study.study_id: _read(study, rules) for study in read_triplets(path)}


def _read(study: StudyTriplets, rules: Rules) -> Entries:
    words = load_medslip_vocabulary(rules.vocabulary)
    found = matrix_of(
        [study],
        uncertain=rules.uncertain,
        midlung_right=rules.midlung_right,
        both_sides=rules.both_sides,
        lemmas=_lemmas(words.version),
        vocabulary=words,
    )
    return _stated(found.values[0])


@lru_cache(maxsize=4)
def _lemmas(version: str) -> Lemmatiser:
    return load_medslip_vocabulary(version).lemmas()


def _stated(matrix: np.ndarray) -> Entries:
    flat = matrix.ravel()
    places = np.flatnonzero(flat >= 0)
    return places.astype(np.int16), flat[places].astype(np.float32)
