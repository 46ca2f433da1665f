"""One fact of a report, as the phantom plants it, the text module reads it and the models learn it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from medvlp.core.errors import DataError

Side = Literal["left", "right", "bilateral", "midline", ""]
Presence = Literal["present", "absent", "uncertain"]


@dataclass(frozen=True, slots=True)
class Triplet:
    """An (anatomy, observation, presence) statement with its side, severity and the sentence that says it.

    Attributes:
        anatomy: where, e.g. ``"lower lobe"``; empty where the sentence names none.
        side: the patient's side, never the viewer's.
        observation: a finding's name as in the label columns, e.g. ``"effusion"``.
        presence: as asserted by the report.
        severity: ``"mild" | "moderate" | "severe"`` or empty.
        sentence: the words that carry the fact.

    Raises:
        DataError: if side or presence is not one of the allowed words.

    Example:
        >>> Triplet("pleural space", "left", "effusion", "present", "mild", "Small left effusion.").side
        'left'
    """

    anatomy: str
    side: Side
    observation: str
    presence: Presence
    severity: str
    sentence: str

    def __post_init__(self) -> None:
        for name, allowed in (("side", get_args(Side)), ("presence", get_args(Presence))):
            if getattr(self, name) not in allowed:
                raise DataError(
                    f"Triplet.{name} is {getattr(self, name)!r}, allowed are {', '.join(map(repr, allowed))}: "
                    f"use one of these words."
                )
