"""Which heads are mounted where, and in what order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head, HeadSpec
from medvlp.core.registry import component, fill

__all__ = ["reading_order", "reads_of", "spread_heads"]


def reads_of(filled: Mapping[str, object]) -> tuple[str, ...]:
    """Return what a head with these filled options reads: its option ``reads``, else what its class declares.

    Example:
        >>> reads_of(fill("models/heads", {"name": "projection", "reads": "tokens"}, where="here"))
        ('tokens',)
    """
    reads = filled.get("reads", _class_of(str(filled["name"])).reads)
    return (reads,) if isinstance(reads, str) else tuple(reads)  # pyrefly: ignore


def _class_of(name: str) -> type[Head]:
    return component("models/heads", name)  # pyrefly: ignore


def spread_heads(
    heads: Mapping[str, HeadSpec], asked: Iterable[tuple[str, str]], *, kinds: Sequence[str]
) -> dict[str, HeadSpec]:
    """Spread heads declared as ``"part"`` over the kinds that need the part, directly or through another head.

    Args:
        heads: ``"kind/part"``, or ``"part"`` for every kind that needs it or for a call-stage head.
        asked: (kind, part) of the plan.
        kinds: towers that there are.

    Returns:
        Name to mount -> head.

    Raises:
        ConfigError: if nothing needs a head.
    """
    filled = {n: fill("models/heads", {"name": h.name, **h.options}, where=f"head {n}") for n, h in heads.items()}
    call = {n for n in heads if filled[n].get("stage", _class_of(heads[n].name).stage) == "call"}
    spread = {name for name in heads if "/" not in name and name not in call}
    found = {name: head for name, head in heads.items() if name not in spread}
    seen: set[tuple[str, str]] = set()
    explicit = [(kind, part) for kind, slash, part in (name.partition("/") for name in found) if slash]
    waiting = sorted({*asked, *explicit})
    while waiting:
        kind, part = waiting.pop()
        name = f"{kind}/{part}" if f"{kind}/{part}" in heads else part
        if (kind, part) in seen or name not in heads or name in call or kind not in kinds:
            continue
        seen.add((kind, part))
        found[f"{kind}/{part}"] = heads[name]
        waiting += [(kind, read) for read in reads_of(filled[name])]
    for name in sorted(spread - {part for _, part in seen}):
        raise ConfigError(
            f"Head {name!r} is declared, but no need asks a view for {name!r}: need it, or drop the head."
        )
    return found


def reading_order(specs: Mapping[str, Mapping[str, object]], *, where: str) -> list[str]:
    """Order heads so that each comes after those of the same kind that it reads.

    Raises:
        ConfigError: if they read each other in a circle.
    """
    order: list[str] = []
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name in open_:
            raise ConfigError(f"{where}{name}: heads read each other in a circle: {' -> '.join([*open_, name])}.")
        open_.append(name)
        kind = name.rpartition("/")[0]
        for read in reads_of(fill("models/heads", specs[name], where=f"{where}{name}")):
            part = "raw" if read == "embedding" else read
            # A call-stage head has no kind: it comes after every head of the part that it reads.
            for above in specs if not kind else (f"{kind}/{part}",):
                if above in specs and above.partition("/")[2] == part:
                    visit(above)
        open_.pop()
        order.append(name)

    for name in specs:
        visit(name)
    return order
