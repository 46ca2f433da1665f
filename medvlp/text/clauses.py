"""Sub-sentences: what one sentence says in one breath, each said alone and true alone."""

from __future__ import annotations

import re

# A list that is denied: "No evidence of A, B or C is seen."
_LIST = re.compile(
    r"(?P<lead>(?:there (?:is|are) )?no (?:(?:radiographic |definite |convincing )?(?:evidence|signs?) of )?)"
    r"(?P<items>[^.;:()]+?)"
    r"(?P<tail> (?:is|are) (?:seen|identified|noted|present|demonstrated|visuali[sz]ed|evident|appreciated|detected"
    r"|apparent))?(?P<end>[.!]?)",
    re.IGNORECASE,
)
_NEITHER = re.compile(
    r"neither (?P<items>[^.;:()]+? nor [^.;:()]+?) (?:is|are) (?P<tail>seen|identified|noted|present)(?P<end>[.!]?)",
    re.IGNORECASE,
)
_ABSENT = re.compile(r"(?P<items>[^.;:()]+? and [^.;:()]+?) are absent(?P<end>[.!]?)", re.IGNORECASE)
_BETWEEN = re.compile(r",?\s+(?:or|nor|and)\s+(?:no\s+)?|,\s*(?:no\s+)?")
# Words that reach over the whole list: each item gets them, for "no large A or B" does not deny a small B.
_REACHING = re.compile(
    r"(?:(?:acute|new|large|sizable|significant|definite|gross|obvious|overt|displaced|suspicious|convincing|appreciable"
    r"|left|right|left-sided|right-sided|bilateral|pulmonary|lung|mediastinal|hilar|apical|basilar|basal|osseous|bony|rib"
    r"|visible|discrete|frank|additional|other)\s+)+(?=\S)",
    re.IGNORECASE,
)
# A verb, a place or a condition: where it belongs is not to be told.
_UNCLEAR = re.compile(
    r"\b(?:is|are|was|were|has|have|but|which|that|to|with|without|in|on|at|of|from|since|than|within|there|for|as|by|not"
    r"|change|interval|longer|either|both|due|seen|compared|and/or)\b",
    re.IGNORECASE,
)
# Nouns that say nothing alone.
_DEPENDENT = re.compile(
    r"(?:thickening|enlargement|collapse|disease|abnormalit(?:y|ies)|process|changes?|fluid|air|lesions?|injury|widening"
    r"|deviation|shift|contours?|silhouette|findings?)",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r"(?:;\s+|,?\s+(?:and|but)\s+(?=there (?:is|are)\b)|,\s+(?:and\s+|but\s+)?(?=no\b)|\s+(?:and|but)\s+(?=no\b))",
    re.IGNORECASE,
)


def split_clauses(sentence: str) -> list[str]:
    """Split a sentence into statements that are each true alone.

    A denied list becomes a denial of each item ("No A, B or C." gives "No A.", "No B." and "No C."), words that reach
    over the list ("no acute A or B") with each; main clauses joined by a semicolon, or by "and" or "but" before "no" or
    "there is", become sentences. Anything else, and a list whose parts cannot be told apart safely, stays whole.

    Example:
        >>> split_clauses("No acute fracture, pleural effusion or pneumothorax is seen.")
        ['No acute fracture is seen.', 'No acute pleural effusion is seen.', 'No acute pneumothorax is seen.']
        >>> split_clauses("The lungs are clear, and there is no effusion.")
        ['The lungs are clear.', 'There is no effusion.']
    """
    whole = " ".join(sentence.split())
    parts = _main_clauses(whole)
    clauses = [clause for part in parts for clause in (_denials(part) or [part])]
    return clauses if len(clauses) > 1 else [whole]


def _main_clauses(sentence: str) -> list[str]:
    end = sentence[-1] if sentence[-1:] in (".", "!") else ""
    body = sentence.removesuffix(end) if end else sentence
    parts = [part.strip() for part in _JOINT.split(body)]
    leads = re.match(r"(?:no|there (?:is|are) no)\b", body, re.IGNORECASE)
    short = any(len(part.split()) < 2 for part in parts)
    # "No A and no B is seen" has one verb for both: a denied list, taken apart there.
    if len(parts) < 2 or short or (leads and not _clause_each(parts)) or "?" in sentence or ":" in body:
        return [sentence]
    return [part[0].upper() + part[1:] + end for part in parts]


def _clause_each(parts: list[str]) -> bool:
    """Whether each part is complete without a verb that stands in the last one only."""
    return not re.search(r"\b(?:is|are)\s+\w+$", parts[-1]) or bool(re.search(r"\b(?:is|are)\b", parts[0]))


def _denials(sentence: str) -> list[str]:
    """Return one denial for each item of a denied list; none where it is no such list."""
    for pattern, lead, tail in ((_NEITHER, "No ", None), (_ABSENT, "No ", ""), (_LIST, None, None)):
        match = pattern.fullmatch(sentence)
        if match is None:
            continue
        items = [item.strip() for item in _BETWEEN.split(match["items"]) if item.strip()]
        if len(items) < 2 or _UNCLEAR.search(match["items"]) or not all(map(_stands_alone, items)):
            return []
        reach = _REACHING.match(items[0])
        shared = reach[0] if reach and pattern is not _ABSENT else ""
        items = [items[0], *(item if _REACHING.match(item) else shared + item for item in items[1:])]
        opening = match["lead"] if lead is None else lead
        ending = f" is {match['tail']}" if pattern is _NEITHER else (match["tail"] or "" if tail is None else tail)
        return [_first_up(opening + _lower(item)) + _agreeing(ending, item) + match["end"] for item in items]
    return []


def _stands_alone(item: str) -> bool:
    words = item.split()
    return len(words) <= 5 and not (len(words) == 1 and _DEPENDENT.fullmatch(words[0]) is not None)


def _lower(item: str) -> str:
    return item if item[:2].isupper() else item[0].lower() + item[1:]


def _first_up(text: str) -> str:
    return text[0].upper() + text[1:]


def _agreeing(tail: str, item: str) -> str:
    """Return the verb in the number of the item: "is seen" for one, "are seen" for several."""
    several = re.search(r"(?:[^su]s|i|ae|ices)$", item.lower()) and not re.search(r"(?:is|us|ss|ema|ax)$", item.lower())
    return re.sub(r"\b(?:is|are)\b", "are" if several else "is", tail)
