"""From the parts that a plan asks of a view to what must be computed for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.fields import parse_field
from medvlp.core.protocols import Encoder, Head
from medvlp.models.architectures._standing import Standing, parts_given, parts_read
from medvlp.models.bank import Bank


@dataclass(frozen=True)
class Recipe:
    """How one view is computed.

    Attributes:
        view: its name.
        kind: whose tower encodes it.
        bank: name of the bank, or empty.
        tower: parts asked of the tower, and those that patches give while it runs.
        patched: only the latter.
        heads: tower-stage heads, in the order in which they read each other.
        later: batch-stage heads, in that order.
        keep: parts that leave `forward`: what the plan asks for and what later heads read.
    """

    view: str
    kind: str
    bank: str
    tower: frozenset[str]
    patched: frozenset[str]
    heads: tuple[str, ...]
    later: tuple[str, ...]
    keep: frozenset[str]


def kind_of(view: str) -> str:
    """Return the kind of tower that encodes a view; banks are texts."""
    return "text" if view.startswith("bank.") else parse_field(view).kind


def make_recipe(
    view: str,
    parts: frozenset[str],
    *,
    towers: Mapping[str, Encoder],
    heads: Mapping[str, Head],
    banks: Mapping[str, Bank],
    standing: Sequence[Standing] = (),
) -> Recipe:
    """Resolve the parts asked of a view; a tower, bank or part that is not there is refused, naming what is."""
    bank = view.removeprefix("bank.") if view.startswith("bank.") else ""
    example = f"{view}/{min(parts)}"
    if bank and bank not in banks:
        raise ConfigError(f"Need {example!r} asks for the bank {bank!r}: {did_you_mean(bank, banks)}.")
    if bank and banks[bank].vectors is not None:
        for part in sorted(parts - {"raw", "embedding"}):
            raise ConfigError(
                f"Need '{view}/{part}' cannot be computed: bank {bank!r} holds the constant vectors of "
                f"{banks[bank].encoder!r} (allowed: embedding, raw)."
            )
        return Recipe(view, "", bank, frozenset(), frozenset(), (), (), frozenset({"raw"}))
    kind = kind_of(view)
    if kind not in towers:
        raise ConfigError(f"Need {example!r} asks for a tower of kind {kind!r}: {did_you_mean(kind, towers)}.")
    # A head that has texts encoded reads besides what patches on those texts ask of the picture.
    through = {name: parts_read(standing, head.banks) for name, head in heads.items() if head.banks}
    return _resolve(view, kind, bank, parts, towers[kind], heads, parts_given(standing, kind, view), through)


def _resolve(
    view: str,
    kind: str,
    bank: str,
    parts: frozenset[str],
    tower: Encoder,
    heads: Mapping[str, Head],
    patched: frozenset[str],
    through: Mapping[str, tuple[str, ...]],
) -> Recipe:
    beside = given_beside(kind, heads)
    own: set[str] = set()
    early: list[str] = []
    later: list[str] = []
    open_: list[str] = []

    def visit(part: str) -> None:
        head = heads.get(f"{kind}/{part}")
        if head is None and part in beside:
            visit(beside[part])
        elif head is None and part == "embedding":
            visit("raw")
        elif head is None:
            if part not in tower.offers | patched:
                asked = f"{view}/{part}" if not open_ else f"{kind}/{part} (read by head {open_[-1]!r})"
                meant = did_you_mean(part, _offered(kind, tower, heads, patched))
                raise ConfigError(
                    f"Need '{asked}' cannot be computed: {meant}. A part that is none of these "
                    "comes of a head (model.heads) or a patch."
                )
            own.add(part)
        elif part in open_:
            raise ConfigError(f"Heads of kind {kind!r} read each other in a circle: {' -> '.join([*open_, part])}.")
        elif part not in early and part not in later:
            open_.append(part)
            for read in (*head.reads, *through.get(f"{kind}/{part}", ())):
                visit(read)
            open_.pop()
            (early if head.stage == "tower" else later).append(part)

    for part in sorted(parts):
        visit(part)
    # What a later head gives beside its own part does not exist before it has run.
    later_parts = {*later, *(part for part, giver in beside.items() if giver in later)}
    read_later = {read for part in later for read in heads[f"{kind}/{part}"].reads}
    keep = {"raw" if part == "embedding" and "raw" in (*early, *later) else part for part in parts | read_later}
    given = frozenset(own & patched)
    return Recipe(view, kind, bank, frozenset(own), given, tuple(early), tuple(later), frozenset(keep - later_parts))


def given_beside(kind: str, heads: Mapping[str, Head]) -> dict[str, str]:
    """Parts that heads of a kind give beside their own -> the part whose head gives it."""
    mounted = {name.partition("/")[2]: head for name, head in heads.items() if name.startswith(f"{kind}/")}
    return {f"{part}_{more}": part for part, head in mounted.items() for more in head.gives}


def _offered(kind: str, tower: Encoder, heads: Mapping[str, Head], patched: frozenset[str]) -> list[str]:
    mounted = [name.partition("/")[2] for name in heads if name.startswith(f"{kind}/")]
    return sorted(
        {*tower.offers, *patched, *mounted, *given_beside(kind, heads), *(["embedding"] if "raw" in mounted else [])}
    )
