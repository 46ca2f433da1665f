"""Data cards: what is known of a data set, with the source of each fact; layouts and splits read their facts here.

A card is ``data_cards/NAME.md``: YAML between two lines of ``---``, then prose. The front matter is data and is checked
against `DataCard`; its JSON Schema is ``DataCard.model_json_schema()``.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from medvlp.core.errors import DataError
from medvlp.core.registry import validation_sentences
from medvlp.core.resources import resource, resource_folder

Facts = TypeVar("Facts", bound=BaseModel)


class Frozen(BaseModel):
    """Facts of a card: no other keys, and no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Count(Frozen):
    """A number that the data set is said to have.

    Attributes:
        what: what is counted: ``images``, ``patients``, ``studies``, ``rows``, ``boxes``, ``label:effusion`` ...
        split: of which split; empty for the whole set.
        source: where the number comes from, or ``recalled`` where nobody looked it up.
    """

    what: str
    value: int = Field(ge=0)
    split: str = ""
    source: str


class SplitFacts(Frozen):
    """A split that people use by name.

    Attributes:
        rule: how the rows of a split are found: ``column`` (a column of the labels, or a folder, says so), ``lists``
            (files of ids in the release), ``ids`` (ids given by the user's file), ``fractions`` (drawn by a rule), or
            ``none`` (the release has no split).
        unit: what stands on one side only: ``patient``, ``study``, ``image`` or ``row``.
        options: what the rule needs. ``names``: the parts. ``counts``: part -> records, told where they differ.
            ``files``: part -> file of ids; ``file``: one with ids and parts; ``column``: of the ids in them; ``by``:
            the manifest's column that these are compared with, found by trial without it. ``rename``: part of the
            release -> part. For ``fractions``: ``draw``, how its maker drew it, see `medvlp.data.splits.Draw`; without
            it the split needs the user's lists.
        flaw: what is wrong with it; empty where nothing is known.
        source: who made or uses it.
    """

    title: str
    rule: Literal["column", "lists", "ids", "fractions", "none"]
    unit: Literal["patient", "study", "image", "row"]
    options: dict[str, Any] = Field(default_factory=dict)
    flaw: str = ""
    source: str


def _named(labels: object) -> object:
    return {name: name for name in labels} if isinstance(labels, list) else labels


class DataCard(Frozen):
    """Front matter of a data card.

    Attributes:
        name: of the card's file, without its ending.
        title: the data set's own name.
        modality: ``cxr``, ``ct``, ``mr`` or ``mixed``.
        synthetic: whether nobody stands behind it.
        licence: as its source states it.
        access: ``open``, ``registration`` (a form or an account), ``credentialed`` (training and a signed agreement),
            ``withdrawn`` (its source is gone), or ``generated``.
        source: where it is to be had.
        cite: the paper.
        layout: name for ``medvlp data index``; empty where there is none.
        labels: finding of this project's vocabulary -> the data set's own word for it.
        vocabularies: further word lists of the release, by name: finding -> the words that mean it.
        counts: numbers that are known, each with its source.
        splits: name -> facts; ``official`` is the one that the release defines.
        overlaps: cards of data sets with the same patients or images.
    """

    name: str
    title: str
    modality: list[Literal["cxr", "ct", "mr", "mixed"]]
    synthetic: bool = False
    licence: str
    access: Literal["open", "registration", "credentialed", "withdrawn", "generated"]
    source: str = ""
    cite: str = ""
    layout: str = ""
    labels: Annotated[dict[str, str], BeforeValidator(_named)] = Field(default_factory=dict)
    vocabularies: dict[str, dict[str, list[str]]] = Field(default_factory=dict)
    counts: list[Count] = Field(default_factory=list)
    splits: dict[str, SplitFacts] = Field(default_factory=dict)
    overlaps: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _counted_splits(self) -> DataCard:
        for count in self.counts:
            if count.split and not any(
                count.split in facts.options.get("names", [count.split]) for facts in self.splits.values()
            ):
                raise ValueError(f"the count of {count.what} names the split {count.split!r}, which no split has")
        return self


def cards() -> tuple[str, ...]:
    """Names of all cards, sorted."""
    return tuple(sorted(path.stem for path in resource_folder("data_cards").glob("*.md")))


@cache
def load_card(name: str) -> DataCard:
    """Read a card.

    Raises:
        UserError: if there is none of that name, with the nearest.
        DataError: if its front matter is missing or wrong, every fault at once.

    Example:
        >>> load_card("phantom").labels["effusion"]
        'effusion'
    """
    text = resource("data_cards", f"{name}.md").read_text("utf-8")
    parts = text.split("---\n", 2)
    if len(parts) != 3 or parts[0]:
        raise DataError(f"The card {name} does not begin with front matter between two lines of ---: write it there.")
    return checked(DataCard, parts[1], what=f"front matter of the card {name}", where=f"card {name}")


def checked(model: type[Facts], text: str, *, what: str, where: str) -> Facts:
    """Read YAML as a model; a `DataError` names every fault at once."""
    import yaml

    try:
        return model.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise DataError(f"The {what} is no YAML ({str(error).splitlines()[0]}).") from None
    except ValidationError as error:
        raise DataError(" ".join(validation_sentences(error, where=where, model=model))) from None
