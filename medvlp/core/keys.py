"""Keys: the one grammar of needs, tables and gathers, ``[who:]view/part``.

``image/tokens``, ``text/embedding``, ``ema:image.local/dino``, ``bank.findings/embedding``. A name without ``/`` is a
batch field (``label.effusion``); ``state:NAME`` is a state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.fields import ENCODABLE, parse_field
from medvlp.core.grouped import grouped


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One key, parsed: who, view and part; or the name of a batch field or a state.

    Attributes:
        view: an encodable field or ``bank.NAME``; a batch field where `part` is empty; a state's name where `who` is
            ``"state"``.
        part: a field of `Encoded`, ``raw``, ``embedding`` or what a head gives; empty for fields and states.
        who: a teacher's name, ``"state"``, or empty for the model being trained.
    """

    view: str
    part: str = ""
    who: str = ""

    def __str__(self) -> str:
        prefix = f"{self.who}:" if self.who else ""
        return f"{prefix}{self.view}/{self.part}" if self.part else f"{prefix}{self.view}"

    @property
    def is_state(self) -> bool:
        """Whether the key names a state."""
        return self.who == "state"

    @property
    def is_field(self) -> bool:
        """Whether the key names a batch field."""
        return not self.part and not self.is_state

    @property
    def is_bank(self) -> bool:
        """Whether the view is a bank: texts that belong to no sample."""
        return self.view.startswith("bank.")


@lru_cache(maxsize=4096)
def parse_key(text: str) -> Key:
    """Read a key.

    Raises:
        ConfigError: if the view is neither an encodable field nor a bank, or the field's kind is unknown.

    Example:
        >>> parse_key("ema:image.local/dino")
        Key(view='image.local', part='dino', who='ema')
        >>> str(parse_key("label.effusion")), parse_key("state:clusters").is_state
        ('label.effusion', True)
    """
    who, colon, rest = text.rpartition(":")
    if colon and not who:
        raise ConfigError(f"Key {text!r} has nothing before ':': write [who:]view/part.")
    if who == "state":
        return Key(rest, "", who)
    view, slash, part = rest.partition("/")
    if not slash:
        if who:
            raise ConfigError(f"Key {text!r} asks a teacher for a batch field: write {who}:view/part.")
        return Key(str(parse_field(view)))
    if not part or "/" in part:
        raise ConfigError(f"Key {text!r} needs exactly one part after the view: write [who:]view/part.")
    if not view.startswith("bank.") and parse_field(view).kind not in ENCODABLE:
        raise ConfigError(
            f"Key {text!r} asks to encode {view!r}: only {', '.join(sorted(ENCODABLE))} and banks can be."
        )
    return Key(view, part, who)


def keys(*texts: str) -> frozenset[Key]:
    """Return the set of parsed keys.

    Example:
        >>> sorted(map(str, keys("text/embedding", "image/embedding")))
        ['image/embedding', 'text/embedding']
    """
    return frozenset(parse_key(text) for text in texts)


class PlannedStates(dict[str, object]):
    """States by name, those that a plan names or asks as teachers; another is refused (ConfigError)."""

    def __missing__(self, name: str) -> object:
        raise ConfigError(
            f"State {name!r} was not planned: {did_you_mean(name, self)}; let needs() name it, as state:{name}."
        )


@dataclass(frozen=True)
class Plan:
    """What a phase computes: the union of all needs, a function of the configuration and never of the batch.

    Example:
        >>> plan = Plan.of(keys("image/embedding", "ema:image/pooled", "label.effusion"))
        >>> plan.views, plan.teachers["ema"].views, plan.fields
        ({'image': frozenset({'embedding'})}, {'image': frozenset({'pooled'})}, ('label.effusion',))
    """

    needs: frozenset[Key]

    @classmethod
    def of(cls, needs: Iterable[Key]) -> Plan:
        """Collect needs into a plan."""
        return cls(frozenset(needs))

    @cached_property
    def views(self) -> dict[str, frozenset[str]]:
        """View -> parts asked of the trained model (banks included), in sorted order."""
        asked = grouped((key.view, key.part) for key in self.needs if not key.who and key.part)
        return {view: frozenset(asked[view]) for view in sorted(asked)}

    @cached_property
    def teachers(self) -> Mapping[str, Plan]:
        """Teacher's name -> the plan it is asked for."""
        names = sorted({key.who for key in self.needs if key.who and not key.is_state})
        return {
            name: Plan(frozenset(Key(key.view, key.part) for key in self.needs if key.who == name)) for name in names
        }

    def states(self, there: Mapping[str, object]) -> PlannedStates:
        """Return those that are named or asked."""
        named = {key.view if key.is_state else key.who for key in self.needs}
        return PlannedStates({name: state for name, state in there.items() if name in named})

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Batch fields asked for, sorted."""
        return tuple(sorted(key.view for key in self.needs if key.is_field))
