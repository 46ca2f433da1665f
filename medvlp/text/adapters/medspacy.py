"""medSpaCy's documents -> mentions, so that its ConText can be compared with medvlp's rules on equal terms.

medSpaCy (Eyre et al., AMIA 2021) marks each entity of a document with ``ent._.is_negated``, ``is_uncertain``,
``is_historical``, ``is_hypothetical`` and ``is_family``. What it says is carried over, right or wrong: its rules as
they come call "Cannot exclude pneumonia" negated.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from medvlp.core.errors import ConfigError, UserError
from medvlp.core.suggest import did_you_mean
from medvlp.text.assertion import Presence
from medvlp.text.mentions import Mention, read_report
from medvlp.text.ontology import findings

__all__ = ["ClinicalDocument", "MedspacyMentions", "load_pipeline", "mentions_of_document"]


class _Marks(Protocol):
    is_negated: bool
    is_uncertain: bool
    is_historical: bool
    is_hypothetical: bool
    is_family: bool
    section_category: str | None


class _Span(Protocol):
    text: str


class _Entity(Protocol):
    text: str
    label_: str
    start_char: int
    end_char: int

    @property
    def sent(self) -> _Span: ...

    @property
    def _(self) -> _Marks: ...


class ClinicalDocument(Protocol):
    """What is used of a spaCy document that went through medSpaCy."""

    @property
    def ents(self) -> Sequence[_Entity]:
        """Entities in the order of the text."""
        ...


@dataclass(frozen=True, slots=True)
class MedspacyMentions:
    """What could be carried over.

    Attributes:
        mentions: in the order of the document.
        left_out: reason -> words of the entities, which are other people's findings or no findings of the ontology.
    """

    mentions: tuple[Mention, ...]
    left_out: dict[str, tuple[str, ...]]


def load_pipeline() -> Callable[[str], ClinicalDocument]:
    """Return medSpaCy's own pipeline; its targets must still be named by rules.

    Raises:
        UserError: if the package is not installed.
    """
    if importlib.util.find_spec("medspacy") is None:
        raise UserError(
            "Reading reports with medSpaCy needs the package 'medspacy', which is not installed: pip install medspacy, "
            "or use medvlp's own rules."
        )
    return importlib.import_module("medspacy").load()


def mentions_of_document(document: ClinicalDocument, *, labels: Mapping[str, str] | None = None) -> MedspacyMentions:
    """Turn the entities of a document into mentions.

    A condition ("if ...") counts before all else; an entity both negated and uncertain is uncertain, one both negated
    and historical ("no history of") absent. Side, anatomy and severity are what medvlp reads in the entity's own words:
    medSpaCy has no such marks.

    Args:
        document: with entities and medSpaCy's marks.
        labels: entity label -> finding. Default: a label that names a finding (``"EFFUSION"``), else the finding that
            medvlp's lexicon sees in the entity's words.

    Raises:
        ConfigError: if `labels` names a finding that the ontology does not have.
    """
    for finding in (labels or {}).values():
        if finding not in findings():
            raise ConfigError(f"labels names the finding {finding!r}: {did_you_mean(finding, list(findings()))}.")
    mentions: list[Mention] = []
    left_out: dict[str, list[str]] = {}
    for entity in document.ents:
        own = next(iter(read_report(entity.text)), None)
        finding = _finding(entity, labels, own)
        if entity._.is_family:
            left_out.setdefault("said of a relative", []).append(entity.text)
        elif finding is None:
            left_out.setdefault("no finding of the ontology", []).append(entity.text)
        else:
            mentions.append(
                Mention(
                    finding=finding,
                    presence=_presence(entity._),
                    side=own.side if own else "",
                    anatomy=own.anatomy if own else "",
                    severity=own.severity if own else "",
                    size_mm=own.size_mm if own else None,
                    count=own.count if own else None,
                    change="",
                    text=entity.text,
                    start=entity.start_char,
                    end=entity.end_char,
                    sentence=" ".join(entity.sent.text.split()),
                    section=entity._.section_category or "",
                )
            )
    return MedspacyMentions(tuple(mentions), {reason: tuple(words) for reason, words in left_out.items()})


def _finding(entity: _Entity, labels: Mapping[str, str] | None, own: Mention | None) -> str | None:
    if labels is not None:
        return labels.get(entity.label_)
    named = entity.label_.lower().replace(" ", "_")
    return named if named in findings() else own.finding if own else None


def _presence(marks: _Marks) -> Presence:
    if marks.is_hypothetical:
        return "conditional"
    if marks.is_uncertain:
        return "uncertain"
    if marks.is_negated:
        return "absent"
    return "historical" if marks.is_historical else "present"
