"""Whole sentences that say the same: "There is no effusion." and "No effusion is seen." The sets are data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from medvlp.text.sentences import sentence_spans

if TYPE_CHECKING:
    import torch

_FILE = Path(__file__).with_name("sentence_turns.yaml")
# What {x} is not: anything with a verb of its own, a second denial or a subordinate clause.
_NO_PHRASE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|be|been|there|no|not|but|which|that|to|than|as|longer|seen|identified|noted"
    r"|present|may|can|cannot|could|with|without|since|from|compared)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Turn:
    pattern: re.Pattern[str]
    others: tuple[str, ...]


def turn_sentences(text: str, generator: torch.Generator, *, rate: float = 0.5) -> str:
    """Say sentences of known form in another form of the same meaning, each with the given probability.

    Args:
        text: a report or any part of one.
        generator: what is drawn is a function of its state alone.
        rate: probability that one sentence is turned.

    Example:
        >>> import torch
        >>> turn_sentences("Normal heart size. No nodule is seen.", torch.Generator().manual_seed(1), rate=1.0)
        'The heart is normal in size. No nodule.'
    """
    import torch

    places = [(span, turn, match) for span in sentence_spans(text) for turn, match in _turns_of(text[slice(*span)])]
    if not places:
        return text
    chances, choices = torch.rand(2, len(places), generator=generator).tolist()
    for ((start, end), turn, match), chance, choice in reversed(list(zip(places, chances, choices, strict=True))):
        if chance < rate:
            other = turn.others[int(choice * len(turn.others))].replace("{x}", match["x"] or "")
            text = text[:start] + other + text[end:]
    return text


def _turns_of(sentence: str) -> list[tuple[_Turn, re.Match[str]]]:
    for turn in _turns():
        match = turn.pattern.fullmatch(sentence)
        if match is not None and _is_phrase(match["x"]):
            return [(turn, match)]
    return []


def _is_phrase(words: str) -> bool:
    """Whether words are a noun phrase or a list of some, the last joined by "or" or "and"; nothing is one too."""
    return not _NO_PHRASE.search(words) and ("," not in words or re.search(r"\b(?:or|and)\b", words) is not None)


@cache
def _turns() -> tuple[_Turn, ...]:
    turns: list[_Turn] = []
    for entry in yaml.safe_load(_FILE.read_text(encoding="utf-8")):
        forms = entry.get("same") or entry["from"]
        for form in forms:
            others = tuple(entry["to"]) if "to" in entry else tuple(other for other in forms if other != form)
            words = re.escape(form).replace(r"\ ", r"\s+").replace(r"\{x\}", r"(?P<x>[^.;:()]{3,90}?)")
            turns.append(_Turn(re.compile(words if "{x}" in form else rf"{words}(?P<x>)"), others))
    return tuple(turns)
