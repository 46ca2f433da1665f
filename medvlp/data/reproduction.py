"""Reproduction cards: what a model is said to reach on a data set, by whom, and what was measured here.

A card is ``data_cards/reproduction/MODEL.yaml``. Every number names its source; one that nobody looked up again says
``recalled``, and an empty cell stays empty.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from pydantic import Field

from medvlp.core.errors import DataError
from medvlp.core.resources import resource, resource_folder
from medvlp.data.cards import Frozen, checked

Task = Literal["zero_shot", "grounding", "retrieval", "linear_probe", "fine_tune"]
_FOLDER = "reproduction"


class Reported(Frozen):
    """A number that somebody gives.

    Attributes:
        value: as a share, not in percent.
        low, high: its interval, where one is given.
        source: where it stands: the paper, a README, an issue by number.
        recalled: nobody looked it up in the source for this card.
    """

    value: float
    low: float | None = None
    high: float | None = None
    source: str = Field(min_length=1)
    recalled: bool = False


class Measured(Frozen):
    """A number of this project.

    Attributes:
        value, low, high: with its 95 % interval.
        results: path of the results file.
    """

    value: float
    low: float | None
    high: float | None
    n: int = Field(ge=0)
    patients: int = Field(ge=0)
    results: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Claim(Frozen):
    """A model on a data set by a metric.

    Attributes:
        data: name of a data card, or of a set that has none.
        split: name on that card, or words.
        metric: as results name it; ``oracle_`` where a threshold was tuned on the test set.
        about: which findings, images or thresholds, in words.
        released: what the released weights gave, by whom.
        quoted: the number that other papers or READMEs give for the model.
        note: what a reader has to know before the numbers are compared.
    """

    data: str
    split: str
    task: Task
    metric: str
    label: str = "macro"
    about: str = ""
    paper: Reported | None = None
    released: tuple[Reported, ...] = ()
    quoted: tuple[Reported, ...] = ()
    ours: Measured | None = None
    note: str = ""


class ReproductionCard(Frozen):
    """Published numbers of a model, as a reproduction card lists them.

    Attributes:
        claims: what is said of it.
    """

    model: str
    title: str
    cite: str
    code: str = ""
    claims: tuple[Claim, ...] = Field(min_length=1)


def reproduction_cards() -> tuple[str, ...]:
    """Names of all cards, sorted."""
    return tuple(sorted(path.stem for path in (resource_folder("data_cards") / _FOLDER).glob("*.yaml")))


@cache
def load_reproduction(name: str) -> ReproductionCard:
    """Read a card.

    Raises:
        UserError: if there is none of that name, with the nearest.
        DataError: if it is faulty, every fault at once.

    Example:
        >>> claim = load_reproduction("medklip").claims[0]
        >>> claim.data, claim.metric, claim.released[0].value, claim.ours
        ('nih_chestxray14', 'auroc', 0.7233, None)
    """
    text = resource("data_cards", f"{_FOLDER}/{name}.yaml").read_text("utf-8")
    where = f"reproduction card {name}"
    card = checked(ReproductionCard, text, what=where, where=where)
    if card.model != name:
        raise DataError(f"The reproduction card {name} says that it is of {card.model!r}: let the two agree.")
    return card


def claims_on(data: str) -> tuple[tuple[ReproductionCard, Claim], ...]:
    """Return what all cards say of a data set."""
    cards = [load_reproduction(name) for name in reproduction_cards()]
    return tuple((card, claim) for card in cards for claim in card.claims if claim.data == data)


def reproduction_words(data: str) -> list[str]:
    """Return one line a claim on a data set: model, metric, the paper's number, that of released weights, and ours.

    Example:
        >>> print(next(line for line in reproduction_words("ct_rate") if line.startswith("fVLM")))
        fVLM, official, zero_shot auroc macro: paper 0.778 (recalled); released weights 0.6267; ours -
    """
    return [_words(card, claim) for card, claim in claims_on(data)]


def _words(card: ReproductionCard, claim: Claim) -> str:
    paper = [claim.paper] if claim.paper else []
    numbers = {"paper": paper, "released weights": claim.released, "quoted": claim.quoted}
    parts = [
        f"{key} {', '.join(f'{each.value:g}' + (' (recalled)' if each.recalled else '') for each in some)}"
        for key, some in numbers.items()
        if some
    ]
    ours = "-" if claim.ours is None else f"{claim.ours.value:.3f}"
    return (
        f"{card.title}, {claim.split}, {claim.task} {claim.metric} {claim.label}: {'; '.join([*parts, f'ours {ours}'])}"
    )
