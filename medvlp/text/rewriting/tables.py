"""Phrases that may stand for one another, kept as data.

A table is YAML, one entry a set of phrases::

    - same: [pulmonary nodule, lung nodule]        # each for each other
    - {from: [SOB], to: [shortness of breath]}     # one way: the left one would be ambiguous as a result
    - same: [pleural effusion, pleural fluid]
      after: [no, evidence of]                     # only behind one of these words; also before, not_after, not_before

A phrase with a capital letter is matched as it is written (``ET tube``), any other in every case. In a context ``#``
stands for a digit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from medvlp.core.errors import ConfigError

__all__ = ["TOKEN", "Phrase", "Table", "load_table"]

TOKEN = re.compile(r"[A-Za-z]+(?:[/-][A-Za-z]+)*")
_CONTEXTS = ("after", "not_after", "before", "not_before")
_NEAR = 48  # characters: no context is longer


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase and what may stand for it.

    Attributes:
        pattern: finds it at a place.
        others: what may take its place.
        after: where given, what must stand before it; `not_after` must not.
        before: where given, what must follow; `not_before` must not.
    """

    pattern: re.Pattern[str]
    others: tuple[str, ...]
    after: re.Pattern[str] | None
    not_after: re.Pattern[str] | None
    before: re.Pattern[str] | None
    not_before: re.Pattern[str] | None

    def fits(self, text: str, start: int, end: int) -> bool:
        """Whether what stands around the phrase allows another one."""
        behind, ahead = text[max(0, start - _NEAR) : start], text[end : end + _NEAR]
        return (
            (self.after is None or self.after.search(behind) is not None)
            and (self.not_after is None or self.not_after.search(behind) is None)
            and (self.before is None or self.before.match(ahead) is not None)
            and (self.not_before is None or self.not_before.match(ahead) is None)
        )


@dataclass(frozen=True, slots=True)
class Table:
    """Phrases by their first word, longest first."""

    phrases: Mapping[str, tuple[Phrase, ...]]


@cache
def load_table(path: Path) -> Table:
    """Read a table of phrases.

    Raises:
        ConfigError: if the file cannot be read, an entry has other keys or empty lists, or a phrase has two entries.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"The phrase table {path} cannot be read as YAML ({type(error).__name__}): mend or replace it."
        ) from error
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"The phrase table {path} must be a list of entries: begin each one with '- same: [...]'.")
    found: dict[str, list[tuple[str, Phrase]]] = {}
    seen: set[str] = set()
    for entry in entries:
        for phrase, others, contexts in _phrases_of(path, entry):
            if phrase in seen:
                raise ConfigError(f"The phrase table {path} has {phrase!r} in two entries: keep it in one.")
            seen.add(phrase)
            found.setdefault(TOKEN.findall(phrase)[0].lower(), []).append(
                (phrase, Phrase(_finder(phrase), others, *(contexts[name] for name in _CONTEXTS)))
            )
    return Table(
        {
            word: tuple(each for _, each in sorted(several, key=lambda pair: len(pair[0]), reverse=True))
            for word, several in found.items()
        }
    )


def _phrases_of(path: Path, entry: object) -> list[tuple[str, tuple[str, ...], dict[str, re.Pattern[str] | None]]]:
    keys = set(entry) if isinstance(entry, dict) else set()
    if not isinstance(entry, dict) or keys - set(_CONTEXTS) not in ({"same"}, {"from", "to"}):
        raise ConfigError(
            f"An entry of the phrase table {path} is {entry!r}: give it same, or from and to, and no keys but "
            f"{', '.join(_CONTEXTS)}."
        )
    lists = {key: _texts(path, key, value) for key, value in entry.items()}
    contexts = {name: _context(lists[name], ahead="before" in name) if name in lists else None for name in _CONTEXTS}
    if "same" in lists:
        pairs = [(each, tuple(o for o in lists["same"] if o != each)) for each in lists["same"]]
    else:
        pairs = [(each, lists["to"]) for each in lists["from"]]
    if any(not others for _, others in pairs):
        raise ConfigError(f"In the phrase table {path} {pairs[0][0]!r} stands alone: add a phrase of the same meaning.")
    return [(phrase, others, contexts) for phrase, others in pairs]


def _texts(path: Path, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each.strip() for each in value):
        raise ConfigError(
            f"In the phrase table {path} {key} is {value!r}: it must be a list of texts; quote what YAML would read as "
            f"something else (no, yes, numbers)."
        )
    return tuple(" ".join(each.split()) for each in value)


def _words(phrase: str) -> str:
    return re.escape(phrase).replace(r"\ ", r"\s+").replace(r"\#", r"\d")


def _finder(phrase: str) -> re.Pattern[str]:
    flags = 0 if any(letter.isupper() for letter in phrase) else re.IGNORECASE
    return re.compile(_words(phrase) + r"(?![\w'])(?!-\w)(?!/\w)", flags)


def _context(phrases: Sequence[str], *, ahead: bool) -> re.Pattern[str]:
    any_of = "|".join(_words(phrase) for phrase in phrases)
    if ahead:
        return re.compile(
            rf"\s*(?:(?:{any_of})(?!\w)|\d)" if "#" in phrases else rf"\s*(?:{any_of})(?!\w)", re.IGNORECASE
        )
    return re.compile(rf"(?<!\w)(?:{any_of})\s+$", re.IGNORECASE)
