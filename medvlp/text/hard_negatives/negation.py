"""Present to absent and back, in whole sentences of known form."""

from __future__ import annotations

import re

from medvlp.text.clauses import split_clauses
from medvlp.text.hard_negatives._words import article_of, capital, is_phrase

_SEEN = r"(?P<seen>seen|identified|noted|present|demonstrated|visuali[sz]ed|evident|appreciated|detected)"
_GRADES = re.compile(
    r"\b(?:small|tiny|trace|minimal|minor|mild|mildly|slight|slightly|moderate|moderately|moderate-sized|large|severe|severely"
    r"|marked|markedly|massive|extensive|dense|subtle|patchy|confluent|advanced|widely|minimally) ",
    re.IGNORECASE,
)
_ENLARGED = r"(?P<state>enlarged|hyperinflated|hyperexpanded|increased(?: in size)?|intubated)"
_OF = r"(?:evidence of |signs? of )"
# A denial and what it denies; {a} is the article where the noun takes one.
_DENIALS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern + r"\.", re.IGNORECASE), stated)
    for pattern, stated in (
        (rf"there (?P<be>is|are) no (?P<of>{_OF})(?P<x>[^.]+)", "There {be} {of}{x}."),
        (r"there (?P<be>is|are) no (?P<x>[^.]+)", "There {be} {a}{x}."),
        (rf"no (?P<of>{_OF})(?P<x>[^.]+?) (?P<be>is|are) {_SEEN}", "{of}{x} {be} {seen}."),
        (rf"no (?P<x>[^.]+?) (?P<be>is|are) {_SEEN}", "{a}{x} {be} {seen}."),
        (rf"no (?P<of>{_OF})(?P<x>[^.]+)", "{of}{x}."),
        (r"no (?P<x>[^.]+)", "{x}."),
        (r"(?P<x>[^.]+?) (?P<be>is|are) absent", "{x} {be} present."),
        (rf"(?P<x>[^.]+?) (?P<be>is|are) not {_SEEN}", "{x} {be} {seen}."),
        (rf"(?P<x>[^.]+?) (?P<be>is|are) not {_ENLARGED}", "{x} {be} {state}."),
        (
            r"(?P<x>(?:the )?(?:heart|cardiac silhouette|cardiomediastinal silhouette)) is (?:normal(?: in size)?"
            r"|of normal size|within normal limits)",
            "{x} is enlarged.",
        ),
        (r"(?P<x>(?:the )?heart size) is (?:normal|within normal limits)", "{x} is increased."),
        (r"normal (?P<x>heart size)", "Increased {x}."),
    )
)


def affirm(sentence: str) -> str | None:
    """Return a sentence that states what this one denies; None where no form fits.

    Example:
        >>> affirm("There is no pneumothorax."), affirm("The heart is not enlarged."), affirm("No change in effusion.")
        ('There is a pneumothorax.', 'The heart is enlarged.', None)
    """
    text = " ".join(sentence.split())
    for pattern, stated in _DENIALS:
        match = pattern.fullmatch(text)
        if match is not None:
            words = match.groupdict(default="")
            fits = is_phrase(words["x"])
            return capital(stated.format(a=article_of(words["x"]), **words)) if fits else None
    return None


def deny(sentence: str) -> str | None:
    """Return a sentence that denies what this one states; the degree goes with it. None where no form fits.

    Example:
        >>> deny("There is a small left effusion."), deny("Mild cardiomegaly."), deny("The heart is mildly enlarged.")
        ('There is no left effusion.', 'No cardiomegaly.', 'The heart is not enlarged.')
    """
    text = " ".join(sentence.split())
    if re.search(r"\b(?:no|not|none|without|absent|resolved|never|free)\b", text, re.IGNORECASE):
        return None
    if match := re.fullmatch(r"there (?P<be>is|are) (?:an? )?(?P<x>[^.]+)\.", text, re.IGNORECASE):
        bare = _plain(match["x"])
        return f"There {match['be']} no {bare}." if is_phrase(bare) else None
    if match := re.fullmatch(rf"(?P<x>[^.]+?) (?P<be>is|are) (?:\w+ly )?{_ENLARGED}\.", text, re.IGNORECASE):
        return f"{match['x']} {match['be']} not {match['state']}." if is_phrase(match["x"]) else None
    if match := re.fullmatch(
        rf"(?:an? |the )?(?P<x>[^.]+?) (?P<be>is|are) (?:{_SEEN}|(?P<place>in place|in situ))(?P<where> [^.]*)?\.",
        text,
        re.IGNORECASE,
    ):
        bare, where = _plain(match["x"]), match["where"] or ""
        if is_phrase(bare) and (not where or (is_phrase(where) and re.match(r" (?:in|on|at|over) ", where))):
            return f"No {bare} {match['be']} {match['seen'] or match['place']}{where}."
        return None
    if match := re.fullmatch(r"(?:an? )?(?P<x>[^.]+)\.", text, re.IGNORECASE):
        bare = _plain(match["x"])
        return f"No {bare}." if is_phrase(bare) else None
    return None


def _plain(phrase: str) -> str:
    """Return a noun phrase without its degree, in small letters but for abbreviations."""
    bare = _GRADES.sub("", phrase + " ").strip()
    first = bare.split()[0] if bare else ""
    return bare if first[:2].isupper() else bare[:1].lower() + bare[1:]


def affirm_one(sentence: str, words: str) -> str | None:
    """Return a denied list in which the item with these words is stated and each other one denied alone.

    Example:
        >>> affirm_one("No effusion or pneumothorax.", "pneumothorax")
        'Pneumothorax. No effusion.'
    """
    clauses = split_clauses(sentence)
    own = [clause for clause in clauses if words.lower() in clause.lower()]
    stated = affirm(own[0]) if len(own) == 1 and len(clauses) > 1 else None
    return None if stated is None else " ".join([stated, *(clause for clause in clauses if clause != own[0])])
