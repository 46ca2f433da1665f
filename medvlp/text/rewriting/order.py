"""Another order of the sentences of a section, or of the sections of a report, in which all that is said stays true.

A sentence is never parted from one that it refers to ("This is ...", "It ...", "the nodule"), and nothing crosses a
sentence that speaks of the rest ("Otherwise unremarkable"). List numbers and line breaks stay where they are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from medvlp.text.ontology import word_class
from medvlp.text.phrases import tokens_of
from medvlp.text.sections import section_spans, split_sections
from medvlp.text.sentences import sentence_spans

if TYPE_CHECKING:
    import torch

# A sentence that begins so goes on from the one before.
_GOES_ON = re.compile(
    r"(?:this|these|those|that|it|its|they|their|them|such|he|she|his|her|both of|each of|one of|some of|most of|all of"
    r"|neither of|another|however|also|additionally|in addition|furthermore|moreover|similarly|likewise|alternatively"
    r"|again|therefore|thus|hence|nevertheless|although|though|but|and|or|nor|which|where|whereas|then|here|given"
    r"|of note|consequently|accordingly|second(?:ly)?|third(?:ly)?|next|finally|lastly"
    r"|there(?! (?:is|are|was|were|has|have|may|might|appears?|continues?|remains?)\b)"
    r"|as (?:above|before|such|well|described|noted|mentioned)"
    r"|correlat\w+|clinical correlation|recommend\w*|consider\w*|suggest|follow[- ]?up|further|attention"
    r"|findings? (?:was|were)|discussed|communicated|called|dr\b"
    r"|the (?:former|latter|same|above|aforementioned|larger|largest|smaller|smallest|first|second|third|appearance"
    r"|findings?|tip))\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"(?:there (?:is|are|was|were) )?no\b", re.IGNORECASE)  # "it" is none of what is not there
# Words anywhere that point to what was said before.
_POINTS = re.compile(
    r"\b(?:these|those|such|former|latter|aforementioned|respectively|recommended|advised"
    r"|this (?!study|exam|examination|time|patient|view"
    r"|radiograph|film|projection|is a\b))",
    re.IGNORECASE,
)
# What is said of the rest: nothing may cross it.
_REST = re.compile(
    r"\b(?:other(?:wise)?|others|remainder|remaining|rest of|elsewhere|additional|further (?:abnormality|findings?)"
    r"|first(?:ly)?|the following|follows)\b",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(  # what another section or sentence says
    r"\b(?:above[- ]\w+ed|(?:described|noted|mentioned|listed|detailed|stated|seen|given) (?:above|below|earlier)"
    r"|as (?:above|described|noted|mentioned|below)|see (?:above|below|findings|impression)|the above"
    r"|findings section)\b",
    re.IGNORECASE,
)
# Things that "the ..." may take up again.
_THING = re.compile(
    r"\b(effusion|pneumothorax|opacity|opacities|nodule|nodular|mass|lesion|consolidation|fracture|edema|oedema|atelectasis"
    r"|collapse|infiltrate|density|cyst|cavity|hernia|tube|catheter|line|picc|port|pacemaker|lead|device|drain|wire"
    r"|hydropneumothorax|pneumonia|emphysema|cardiomegaly|enlargement|congestion|haze|band|abnormality|change|process)"
    r"(?:e?s)?\b",
    re.IGNORECASE,
)
# A part of the body as a heading: what follows is said of it, up to the next one.
_HEADING = re.compile(
    r"[A-Z][\w /,&-]{2,40}:|(?:(?:left|right|both|upper|lower) )?(?:chest|abdomen|pelvis|knees?|shoulders?|hips?|hands?"
    r"|feet|foot|ankles?|spine|neck|head|ribs|lungs?|heart|mediastinum|pleura|bones)\.$",
    re.IGNORECASE,
)
_GLUED_MARK = re.compile(r"\(?\d{1,2}[.)][A-Za-z]")
_ENDED = re.compile(r"[.?!][\"')\]]*$")
_UNMOVED = ("exam", "indication", "technique", "comparison", "recommendation", "addendum", "other")
_NUMBER = re.compile(r"\(?\d{1,2}[.)]\s+")
_BANNER = re.compile(r"\s*(?:final|preliminary|wet)[ \t]+(?:report|read)[ \t]*:?[ \t]*\n", re.IGNORECASE)


def reorder_sentences(text: str, generator: torch.Generator) -> str:
    """Draw another order of the sentences, section by section.

    Sentences of the findings, of the impression and of text without headers change places with others of their own
    paragraph; those of other sections stay. Every order that keeps what belongs together is as likely as any other.

    Args:
        text: a report or a part of one.
        generator: what is drawn is a function of its state alone.

    Example:
        >>> import torch
        >>> text = "Left effusion. It is small. No nodule."
        >>> sorted({reorder_sentences(text, torch.Generator().manual_seed(k)) for k in range(20)})
        ['Left effusion. It is small. No nodule.', 'No nodule. Left effusion. It is small.']
    """
    parts: list[str] = []
    done = 0
    for name, start, end in section_spans(text):
        for first, last in _paragraphs(text, start, end) if name not in _UNMOVED else ():
            parts += [text[done:first], _shuffled(text[first:last], generator)]
            done = last
    return "".join([*parts, text[done:]])


def reorder_sections(report: str, generator: torch.Generator) -> str:
    r"""Draw another order of the sections of a report, headers and numbers in place.

    A report whose sections speak of an "above" or "below", or in which another order would be read as other sections,
    stays as it is.

    Example:
        >>> import torch
        >>> report = "FINDINGS: Clear.\nIMPRESSION: Normal."
        >>> sorted({reorder_sections(report, torch.Generator().manual_seed(k)) for k in range(20)})
        ['FINDINGS: Clear.\nIMPRESSION: Normal.', 'IMPRESSION: Normal.\nFINDINGS: Clear.']
    """
    spans = section_spans(report)
    sections = split_sections(report)
    if len(spans) != len(sections) or len(spans) < 2 or any(map(_ELSEWHERE.search, sections.values())):
        return report
    banner = _BANNER.match(report)  # "FINAL REPORT"
    opening = spans[0][2] if spans[0][0] == "" else banner.end() if banner else 0
    edges = [opening, *(end for name, _, end in spans if name)]
    blocks = [report[start:end] for start, end in itertools.pairwise(edges)]
    cores = [block.strip() for block in blocks]
    numbers = [match[0] if (match := _NUMBER.match(core)) else "" for core in cores]
    if any(numbers) and not all(numbers):
        return report
    bare = [core.removeprefix(number) for core, number in zip(cores, numbers, strict=True)]
    changed = report[:opening]
    for block, core, number, place in zip(blocks, cores, numbers, _drawn_order(len(blocks), generator), strict=True):
        lead, _, trail = block.partition(core)
        changed += lead + number + bare[place] + trail
    return changed if split_sections(changed) == sections else report


def _paragraphs(text: str, start: int, end: int) -> list[tuple[int, int]]:
    breaks = (start + gap.start() for gap in re.finditer(r"\n[ \t]*\n", text[start:end]))
    return list(itertools.pairwise([start, *breaks, end]))


def _shuffled(paragraph: str, generator: torch.Generator) -> str:
    """Return a paragraph with its sentences in a drawn order."""
    spans = sentence_spans(paragraph)
    sentences = [paragraph[a:b] for a, b in spans]
    gaps = [paragraph[b:c] for (_, b), (c, _) in itertools.pairwise(spans)]
    complete = all(map(_ENDED.search, sentences)) or all("\n" in gap for gap in gaps)
    headed = {_HEADING.match(sentence) is not None for sentence in sentences}
    # What begins with a small letter would be taken for the rest of the sentence before; "1.Left" carries its number.
    bound = any(sentence[0].islower() or _GLUED_MARK.match(sentence) for sentence in sentences)
    if len(sentences) < 2 or not complete or bound or len(headed) > 1:
        return paragraph
    order = [k for block in _drawn_blocks(_blocks(sentences), sentences, generator) for k in block]
    body = sentences[order[0]] + "".join(gap + sentences[k] for gap, k in zip(gaps, order[1:], strict=True))
    return paragraph[: spans[0][0]] + body + paragraph[spans[-1][1] :]


def _drawn_blocks(blocks: list[list[int]], sentences: Sequence[str], generator: torch.Generator) -> list[list[int]]:
    """Return the blocks in a drawn order; none crosses one that speaks of the rest."""
    drawn: list[list[int]] = []
    run: list[list[int]] = []
    for block in [*blocks, None]:
        if block is None or any(_REST.search(sentences[k]) or _ELSEWHERE.search(sentences[k]) for k in block):
            drawn += [run[k] for k in _drawn_order(len(run), generator)]
            run = []
            drawn += [block] if block is not None else []
        else:
            run.append(block)
    return drawn


def _blocks(sentences: Sequence[str]) -> list[list[int]]:
    """Return runs of sentences that must stay together, in order."""
    first = list(range(len(sentences)))  # where the block of a sentence begins, at the latest
    named: dict[str, int] = {}
    for place, sentence in enumerate(sentences):
        back = place
        if place and (_GOES_ON.match(sentence) or _POINTS.search(sentence) or _names_nothing(sentence)):
            back = next((at for at in range(place - 1, 0, -1) if not _DENIAL.match(sentences[at])), 0)
        for thing in re.finditer(r"\b(?:the|its)\s+(?:[\w-]+\s+){0,3}", sentence, re.IGNORECASE):
            found = _THING.search(sentence, thing.start(), min(len(sentence), thing.end() + 24))
            if found is not None and found[1].lower() in named:
                back = min(back, named[found[1].lower()])
        first[place] = back
        for found in _THING.finditer(sentence):
            named[found[1].lower()] = place
    blocks: list[list[int]] = []
    for place, back in enumerate(first):
        while len(blocks) > 1 and blocks[-1][0] > back:
            last = blocks.pop()
            blocks[-1] += last
        if blocks and back < place:
            blocks[-1].append(place)
        else:
            blocks.append([place])
    return blocks


def _names_nothing(sentence: str) -> bool:
    """Return whether a sentence says a side or a course alone: of what, the one before says ("Right persists.")."""
    return all(token.word in _unnamed() for token in tokens_of(sentence))


@cache
def _unnamed() -> frozenset[str]:
    classes = "auxiliaries verbs predicates comparatives altered gone prior prepositions regions detected courses"
    others = ("the", "one", "than", "before", "size", "no", "not", "bilaterally", ".")
    return frozenset(others).union(*map(word_class, classes.split()))


def _drawn_order(count: int, generator: torch.Generator) -> list[int]:
    import torch

    return torch.rand(count, generator=generator).argsort().tolist() if count > 1 else list(range(count))
