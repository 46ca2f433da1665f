"""evaluation.json: what was judged on what, beside the numbers; provenance and checklists are made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medvlp.core.errors import DataError
from medvlp.core.files import write_text
from medvlp.evaluation.results import fault_in


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), populate_by_name=True)


class Part(_Frozen):
    """A split: how many records, patients and studies it has; None where the data does not say."""

    name: str
    records: int
    patients: int | None = None
    studies: int | None = None


class LabelCount(_Frozen):
    """A finding: (present, known to be present or absent) of each split."""

    name: str
    by_split: tuple[tuple[int, int], ...]


class Category(_Frozen):
    """An attribute of words: (value, records of each split); None is "not said"."""

    name: str
    rows: tuple[tuple[str | None, tuple[int, ...]], ...]


class Quartiles(_Frozen):
    """An attribute of numbers: 25, 50 and 75 % of each split; None where a split has no number."""

    name: str
    by_split: tuple[tuple[float, float, float] | None, ...]


class Cohort(_Frozen):
    """Who is in the data, by split; `splits` gives the order of every tuple by split."""

    splits: tuple[Part, ...] = ()
    labels: tuple[LabelCount, ...] = ()
    categories: tuple[Category, ...] = ()
    numbers: tuple[Quartiles, ...] = ()


class ModelFacts(_Frozen):
    """The model that was judged.

    Attributes:
        name: of the bundle's folder, never its path.
        manifest: SHA-256 of the bundle's ``MANIFEST.sha256``: of every byte of the model.
        architecture: the bundle's ``model``.
        parameters: how many numbers were learnt or taken over.
        preprocessing: views that make an input of a file.
        score: how an image is compared with a text.
        labels: findings that it can be asked for.
        prompted: whether it tells findings by prompts.
        gate: whether it has one; None where nobody kept that, or it takes no single pictures.
        provenance: what its training said of itself.
    """

    name: str
    manifest: str = ""
    architecture: dict[str, Any] = Field(default_factory=dict)
    parameters: int | None = None
    preprocessing: tuple[dict[str, Any], ...] = ()
    score: str = ""
    labels: tuple[str, ...] = ()
    prompted: bool = False
    gate: bool | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)


class DataFacts(_Frozen):
    """Facts of the evaluation data.

    Attributes:
        layout: that read it.
        card: data card; empty where there is none.
        manifest: hash of the records; those of one hash are the same.
        split: hash of who stands in which part.
        split_made: how the split was made.
        leaks: what the search for leaks between splits found, and under ``model`` that for what the model was trained
            on; None where nobody looked.
        sets: of several data sets name -> layout, numbering of patients, hash and split.
        judged: part that was judged.
        where: values that a record had to have.
        left_out: reason -> records that could not be read.
        synthetic: nobody stands behind it.
    """

    layout: str = ""
    card: str = ""
    manifest: str
    split: str = ""
    split_made: dict[str, Any] | None = None
    leaks: dict[str, Any] | None = None
    sets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    judged: str = ""
    where: dict[str, Any] = Field(default_factory=dict)
    left_out: dict[str, int] = Field(default_factory=dict)
    synthetic: bool = False


class Record(_Frozen):
    """The facts of a run for its page; holds no identifiers and no paths."""

    schema_id: Literal["medvlp.evaluation/1"] = Field(default="medvlp.evaluation/1", alias="schema")
    model: ModelFacts
    data: DataFacts
    cohort: Cohort = Cohort()
    results: tuple[str, ...] = ()
    seed: int | None = None
    resamples: int | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the record as JSON, complete or not at all."""
        write_text(path, self.model_dump_json(by_alias=True, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record.

        Raises:
            DataError: if it is damaged or of another schema.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise DataError(
                f"{path} is not a record of an evaluation ({fault_in(error)}): restore it, or remove it for a "
                f"page that says less."
            ) from error
