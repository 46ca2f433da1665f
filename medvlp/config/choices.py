"""Which rows of a data set are samples: what becomes of those of one study, and a smaller training set."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Node(BaseModel):
    """A frozen part of a tree; unknown keys are errors."""

    # Constants: the end of a ramp may be .inf, and would else be written as null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class GroupConfig(Node):
    """What becomes of rows that are one study, see `medvlp.data.grouping`.

    Attributes:
        keep: ``one`` of several reconstructions, a ``stack`` of all pictures, each picture as a ``pair`` with
            another of its study, ``image.other``, that `where` may leave out as a row, or each picture in a stack with
            the patient's ``prior`` (`medvlp.data.priors`), among the selected rows and within the part of the split.
        by: what the rows have in common; of ``prior`` always ``id.patient``.
        prefer: for ``one``: values of `column`, best first; the first row where none is named.
        column: attribute that tells reconstructions apart.
    """

    keep: Literal["one", "stack", "pair", "prior"]
    by: str = "id.study"
    prefer: list[str] = Field(default_factory=list)
    column: str = "kernel"

    @model_validator(mode="after")
    def _of_what_is_kept(self) -> GroupConfig:
        if self.keep != "one" and (self.prefer or self.column != "kernel"):
            raise ValueError(f"prefer and column choose one of several rows, and keep is {self.keep}: leave them out")
        if self.keep == "prior" and self.by not in ("id.study", "id.patient"):
            raise ValueError("an earlier picture is one of the same patient whatever by says: leave by out")
        return self


class SubsetConfig(Node):
    """A part of the training patients, see `medvlp.data.splits.subset`.

    Attributes:
        share: of the training patients: 0.01, 0.1 ...
        per_class: instead, patients of each class.
        labels: findings for `per_class`; all where none is named.
        seed: another seed, another choice.
    """

    share: float | None = Field(default=None, gt=0, le=1)
    per_class: int | None = Field(default=None, ge=1)
    labels: list[str] = Field(default_factory=list)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_of_both(self) -> SubsetConfig:
        if (self.share is None) == (self.per_class is None):
            raise ValueError("give share or per_class, one of them")
        if self.labels and self.per_class is None:
            raise ValueError("labels are the classes of per_class, and a share has none: leave labels out")
        return self
