"""All ways of rewriting a report, one after another, each optional."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medvlp.text.rewriting.exchange import load_table, reword
from medvlp.text.rewriting.order import reorder_sections, reorder_sentences
from medvlp.text.rewriting.sentence_turns import turn_sentences
from medvlp.text.sections import section_spans, split_sections
from medvlp.text.sentences import sentence_spans

if TYPE_CHECKING:
    import torch

_HERE = Path(__file__).parent


def rewrite(
    text: str,
    generator: torch.Generator,
    *,
    synonyms: float = 0.5,
    abbreviations: float = 0.25,
    sentences: bool = True,
    sections: bool = True,
) -> str:
    """Say a report in other words and another order: findings, negation, side, severity and numbers stay.

    Rewrites of captions as views of one picture are due to Fan et al. (LaCLIP, NeurIPS 2023), who let a language model
    write them; rules over closed tables cannot invent a finding. What they change is proven by reading the result back
    (`rewriting.meaning`).

    Args:
        text: a report or any part of one.
        generator: what is drawn is a function of its state alone: the same state gives the same text.
        synonyms: probability that a phrase or sentence of the tables is exchanged for another of the same meaning.
        abbreviations: probability that an abbreviation is written out, or that words are abbreviated.
        sentences: draw another order of the sentences of each section.
        sections: draw another order of the sections.

    Returns:
        str: the rewritten text; the text itself where a change would break its sections.

    Example:
        >>> import torch
        >>> text = "No pulmonary nodule. RLL atelectasis."
        >>> rewrite(text, torch.Generator().manual_seed(2), synonyms=1, abbreviations=1)
        'Right lower lobe atelectasis. No lung nodule.'
    """
    changed = _unwrapped(text)
    changed = turn_sentences(changed, generator, rate=synonyms) if synonyms else changed
    changed = reword(changed, load_table(_HERE / "synonyms.yaml"), generator, rate=synonyms) if synonyms else changed
    if abbreviations:
        changed = reword(changed, load_table(_HERE / "abbreviations.yaml"), generator, rate=abbreviations)
    changed = reorder_sentences(changed, generator) if sentences else changed
    changed = reorder_sections(changed, generator) if sections else changed
    return changed if sorted(split_sections(changed)) == sorted(split_sections(text)) else text


def _unwrapped(text: str) -> str:
    """Return the text with the line breaks inside sentences made spaces: another word may not fit the line."""
    parts: list[str] = []
    done = 0
    for _, start, end in section_spans(text):
        for first, last in sentence_spans(text[start:end]):
            sentence = text[start + first : start + last]
            if "\n" in sentence:
                parts += [text[done : start + first], " ".join(sentence.split())]
                done = start + last
    return "".join([*parts, text[done:]])
