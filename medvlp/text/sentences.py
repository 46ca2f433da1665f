"""Report prose -> sentences (decimals, abbreviations, lists and wrapped lines are the traps); sentences -> clauses."""

from __future__ import annotations

import re
from functools import lru_cache

from medvlp.text.assertion import listed_from
from medvlp.text.ontology import terms, word_class
from medvlp.text.phrases import tokens_of

_NEVER_LAST = frozenset(
    ("dr", "mr", "mrs", "ms", "prof", "st", "vs", "approx", "cf", "fig", "figs", "incl", "resp", "e.g", "i.e", "dept")
)
_TIME = frozenset(("a.m", "p.m"))
_TITLES = frozenset(("dr.", "mr.", "mrs.", "ms.", "prof."))
_LIST_MARK = re.compile(r"^(?:\(?(?:\d{1,2}[.)]|[a-hA-H]\))|[-*•·])\s+")
_END = re.compile(r"[.?!]+[\"')\]]*(?=\s|$)")
_GLUED = re.compile(r"(?<=[a-z]{2}[.?!])(?=[A-Z][a-z])")
_ITEMS = {  # in one line: "1) no edema 2) cardiomegaly", not "(image 2)"
    first: re.compile(rf"{_GLUED.pattern}|(?<!image)(?<!slice)\s+(?=\(?{more}\)\s)")
    for first, more in (("1", r"\d\d?"), ("a", "[b-h]"))
}
ANSWER = re.compile(  # alone behind a finding, "Effusion. None." or "Effusion. Small left."
    r"(?:no|nil|yes|(?:none|not|absent|present|negative)(?: (?:seen|identified|noted|present|visible))?"
    r"|(?:resolved|removed|unchanged|stable)|(?:(?:tiny|trace|minimal|mild|small|moderate|large|severe|left|right"
    r"|bilateral|sided|sides?|on|the|and|to)\b[ ,-]*)+)(?=\s*(?:[.;]|$))",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<!\S)\d{1,2}\Z")
_LEAD = 200  # characters within which a list begins
_WRAPPED = 60  # characters from which on a line without full stop is taken to be broken by wrapping


def capital(text: str) -> str:
    """Return a sentence that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def indefinite(phrase: str) -> str:
    """Return ``a`` or ``an``, as the first word of a phrase is spoken."""
    word = phrase.split()[0]
    if word.isupper() and word != "PICC":  # spoken letter by letter
        return "an" if word[0] in "AEFHILMNORSX" else "a"
    return "an" if word[0].lower() in "aeiou" and word[:3] != "uni" else "a"


def split_sentences(text: str) -> list[str]:
    """Split report prose into sentences, in order, with list marks removed and white space made single.

    A full stop does not end a sentence inside a number (``1.2 cm``), after an abbreviation that never comes last
    (``Dr.``, ``vs.``, ``e.g.``; ``No.`` before a number), in ``a.m.`` before what goes on, after an initial (``Dr. J.
    Smith``), before a lower-case letter, between a finding and its answer (``Effusion. None.``) or behind a list mark
    (``1.``), nor does a question mark before the answer ``No`` or ``Yes``, or in front of what it asks (``? Edema``).
    It does end one after a unit (``2 cm. The heart``), where the space behind it was lost (``effusion.No``) and where
    it stands apart (``effusion . no``).
    A line break ends a sentence at a blank line, before a list mark, and after a short line without full stop unless
    the next goes on in lower case and is no finding beside one of which either is denied ("no effusion", "heart
    enlarged"); other breaks are those of wrapped lines. A list with one cue ("No evidence of:", "Possible:") is one
    sentence with its items; a line that begins with ``1)`` or ``a)`` is parted at all such marks.

    Example:
        >>> split_sentences("1. A 1.2 cm nodule. 2. No change vs. the prior by Dr. J. Smith.")
        ['A 1.2 cm nodule.', 'No change vs. the prior by Dr. J. Smith.']
    """
    return [sentence for block in _blocks(text) for sentence in _of_block(block)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of each sentence of `split_sentences` in the text.

    Example:
        >>> text = "1. Clear lungs.  2. Normal heart."
        >>> [text[start:end] for start, end in sentence_spans(text)]
        ['Clear lungs.', 'Normal heart.']
    """
    places = [place for place, letter in enumerate(text) if not letter.isspace()]
    squeezed = "".join(text[place] for place in places)
    spans: list[tuple[int, int]] = []
    cursor = 0
    for sentence in split_sentences(text):
        letters = "".join(sentence.split())
        start = squeezed.index(letters, cursor)  # a sentence loses white space and the mark in front, nothing else
        cursor = start + len(letters)
        spans.append((places[start], places[cursor - 1] + 1))
    return spans


def _blocks(text: str) -> list[str]:
    """Return stretches of text that no sentence crosses, wrapped lines joined."""
    blocks: list[str] = []
    before = lead = ""  # the last line, and it behind the one before it
    listed: tuple[bool, int] | None = None  # of the list in the last block: marked, how far in
    for raw in re.split(r"\r\n|\r|\n", text):
        line, mark, indent = raw.strip(), _LIST_MARK.match(raw.strip()) is not None, len(raw) - len(raw.lstrip())
        if line:
            opened = listed or ((mark, indent) if _opens_list(lead, mark) else None) if mark or before else None
            item = opened is not None and mark == opened[0] and indent >= opened[1] and _is_item(line, mark)
            joined = item or (before != "" and not mark and _goes_on(f"no {before}" if listed else before, line))
            if joined:
                blocks[-1] = f"{blocks[-1]} {line}"
            else:
                blocks.append(line)
            lead = f"{before} {line}" if joined or line[-1] != ":" else line
            listed = opened if item or (joined and before[-1] not in ".;") else None
        before = line
    return [" ".join(block.split()) for block in blocks]


def _goes_on(before: str, line: str) -> bool:
    if before[-1] in ".?!:;," or len(before) >= _WRAPPED:
        return True
    return (line[0].islower() or line[0].isdigit()) and not _are_items(before, line)


def _opens_list(lead: str, mark: bool) -> bool:
    """Return whether lines end with the cue of a list: "No evidence of:", or before a list mark "No evidence of"."""
    if not lead or (lead[-1] != ":" and not mark):
        return False
    tokens = tokens_of(lead if lead[-1] in ":-" else f"{lead} -")
    return (listed_from(tokens) or (-1,))[0] == len(tokens) - 1


@lru_cache(maxsize=64)  # of a long list the beginning is asked for at each item
def _lists(words: str) -> bool:
    return listed_from(tokens_of(words)) is not None


def _is_item(line: str, mark: bool) -> bool:
    """Return whether a line begins with an item of a list: no statement, without a list mark a finding and no more."""
    tokens = tokens_of((_LIST_MARK.sub("", line) if mark else line).partition(". ")[0].rstrip(".;,"))
    if mark:
        return (word_class("verbs") | word_class("predicates")).isdisjoint(token.word for token in tokens)
    return 0 < len(tokens) == sum(len(found.at) for found in terms().find(tokens))


def _are_items(before: str, line: str) -> bool:
    """Return whether two lines are items of a list, each with a finding, and one of them denies something."""
    tokens, end = tokens_of(f"{before}\n{line}"), len(tokens_of(before))
    words = [token.word for token in tokens]
    if {"no", "not", "without", "never"}.isdisjoint(words) or "." in words[:-1] or {"or", "nor"} & set(words[end:]):
        return False
    if not {"longer", "more", *word_class("comparatives")}.isdisjoint(words[end + 1 : end + 2]):  # "no longer seen"
        return False
    found = terms().find(tokens)
    firsts, lasts = [term.first for term in found], [term.last for term in found]
    last = end - 2 if words[end - 1] in word_class("detected") else end - 1
    ends = last in lasts or (last < end - 1 and words[last] in ("is", "are", "was", "were", "not"))
    opens = (
        words[end] in ("no", "left", "right", "bilateral", *word_class("starters")) and max(firsts, default=0) >= end
    )
    return ends and (opens or end in firsts) and not any(term.first < end <= term.last for term in found)


def _of_block(block: str) -> list[str]:
    sentences: list[str] = []
    first = re.match(r"\(?([1a])\)\s", block)
    for piece in (_ITEMS[first[1]] if first else _GLUED).split(block):
        start = 0
        for end in _END.finditer(piece):
            mark = _LIST_MARK.match(piece[start:])
            if mark:
                start += mark.end()
            if end.end() > start and _ends(piece, start, end):
                sentences.append(piece[start : end.end()].strip())
                start = end.end() + (len(piece[end.end() :]) - len(piece[end.end() :].lstrip()))
        rest = _LIST_MARK.sub("", piece[start:].strip())
        sentences.append(rest)
    return [sentence for sentence in sentences if re.search(r"\w", sentence)]


def _ends(text: str, start: int, end: re.Match[str]) -> bool:
    """Return whether a full stop (or ? or !) at this place ends the sentence that began at `start`."""
    following = text[end.end() :].lstrip()
    if not following:
        return True
    if following[0].islower() and not text[: end.start()].endswith(" "):
        return False
    if not end[0].startswith("."):
        asked = end[0] == "?" and (text[: end.start()] or "(")[-1] in "( "  # "? Pneumonia"
        answered = re.match(r"(?i:no|yes|none(?: seen)?|[ny])(?:[.,;]|$)", following) is not None  # "Pneumothorax? No."
        answered |= ANSWER.match(following) is not None and _is_item(text[start : end.start()], mark=False)
        return not asked and not answered
    item = _LIST_MARK.match(following) or _NUMBER.search(text[max(start, end.start() - 3) : end.start()])
    items = [*re.split("[:.] ", text[max(start, end.start() - _LEAD) : end.start()])[1:][-2:], following]
    item = item or (len(items) > 1 and all(_is_item(each, mark=False) for each in items))
    if item and _lists(text[start : min(end.end(), start + _LEAD)]):
        return False  # "No evidence of: 1. Pneumothorax. 2. Effusion.", or without numbers
    if ANSWER.match(following) and _is_item(text[start : end.start()], mark=False):
        return False
    words = text[start : end.start()].rsplit(maxsplit=2)
    last = words[-1].lower().lstrip("(\"'") if words else ""
    if last in ("no", "nos"):
        return not following[0].isdigit()
    if last in _NEVER_LAST or (last == "neg" and following[:4].lower() == "for "):
        return False
    if last in _TIME:
        return not (following[0].isdigit() or following.split()[0].lower() in _TITLES)
    initial = len(last) == 1 and words[-1][-1].isupper()
    return not (initial and (len(words) == 1 or words[-2].lower() in _TITLES or re.fullmatch(r"[A-Z]\.", words[-2])))


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
_ABSENT = re.compile(  # the end first: every "and" of a long sentence would be tried for it
    r"(?=[^.;:()]* are absent[.!]?\Z)(?P<items>[^.;:()]+? and [^.;:()]+?) are absent(?P<end>[.!]?)", re.IGNORECASE
)
_BETWEEN = re.compile(r",?\s+(?:or|nor|and)\s+(?:no\s+)?|,\s*(?:no\s+)?")
# Words that reach over the whole list: each item gets them, for "no large A or B" does not deny a small B.
_REACHING = re.compile(
    r"(?:(?:acute|new|large|sizable|significant|definite|gross|obvious|overt|displaced|suspicious|convincing|appreciable"
    r"|left|right|left-sided|right-sided|bilateral|pulmonary(?! o?edema)|lung|mediastinal|hilar|apical|basilar|basal"
    r"|osseous|bony|rib|visible|discrete|frank|additional|other)\s+)+(?=\S)",
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
    short = any(len(part.split()) < 2 or _leans(part, first=part == parts[0]) for part in parts)
    # "No A and no B is seen" has one verb for both: a denied list, taken apart there.
    if len(parts) < 2 or short or (leads and not _clause_each(parts)) or "?" in sentence or ":" in body:
        return [sentence]
    return [capital(part) + end for part in parts]


def _leans(part: str, *, first: bool) -> bool:
    """Whether a part has a side whose finding another part names: "none on the right", the first "a left" alone."""
    tokens = tokens_of(part)
    words, whole = {token.word for token in tokens}, word_class("verbs") | word_class("prepositions")
    sided = not words.isdisjoint(("left", "right")) and not (first and words & whole)
    return sided and not terms().find(tokens)


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
        if len(items) < 2 or _UNCLEAR.search(match["items"]) or not all(map(_is_complete, items)):
            return []
        reach = _REACHING.match(items[0])
        shared = reach[0] if reach and pattern is not _ABSENT else ""
        items = [items[0], *(item if _REACHING.match(item) else shared + item for item in items[1:])]
        opening = match["lead"] if lead is None else lead
        ending = f" is {match['tail']}" if pattern is _NEITHER else (match["tail"] or "" if tail is None else tail)
        small = [item if item[:2].isupper() else item[0].lower() + item[1:] for item in items]
        return [capital(opening + item) + _agreeing(ending, item) + match["end"] for item in small]
    return []


def _is_complete(item: str) -> bool:
    words = item.split()
    course = "old|(?:enlarg|evolv|grow|increas|worsen)ing|(?:displac|enlarg|heal|increas)ed"
    adjective = re.fullmatch(
        rf"\w{{2,}}(?:al|[^c]ar|ary|ous|i?ac|ic|ior)|left|right|{course}", words[-1].lower()
    )  # no scar
    adjective = adjective or _REACHING.match(f"{words[-1]} .")
    return len(words) <= 5 and not adjective and not (len(words) == 1 and _DEPENDENT.fullmatch(words[0]) is not None)


def _agreeing(tail: str, item: str) -> str:
    """Return the verb in the number of the item: "is seen" for one, "are seen" for several."""
    several = re.search(r"(?:[^su]s|i|ae|ices)$", item.lower()) and not re.search(r"(?:is|us|ss|ema|ax)$", item.lower())
    return re.sub(r"\b(?:is|are)\b", "are" if several else "is", tail)
