"""Side, severity, place, count and device: one word of a sentence for another of its class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from medvlp.text.laterality import states_a_side, turned
from medvlp.text.sentences import capital, indefinite, split_clauses

# Nouns that stand without an article.
_MASS = re.compile(
    r"consolidation|o?edema|cardiomegaly|atelectasis|emphysema|fluid|air|congestion|disease|pneumonia|enlargement|loss"
    r"|hyperinflation|hyperexpansion|thickening|capping|collapse|fibrosis|scarring|bronchiectasis|(?:lymph)?adenopathy|change"
    r"|tuberculosis|ptx|pna|failure|widening|elevation|haze|calcification|infection|infiltration"
)
_VERBS = re.compile(
    r"\b(?:is|are|was|were|has|have|had|be|been|there|not|but|which|that|to|than|as|longer|may|can|cannot|could|with"
    r"|without|since|from|compared|either|neither|any|change|changes|changed|interval|other|further|evidence|signs?|no|or|nor"
    r"|and|both|bilateral(?:ly)?|consistent|suggest\w*|represent\w*|reflect\w*|due|likely|possible|possibly|probable|stable"
    r"|unchanged|new|persistent|increased|decreased|worsening|improving|resolved|prior|previous(?:ly)?|removed|removal|known"
    r"|resolving|remains?|appears?|persists?|again|two|three|four|five|six|multiple|several|numerous)\b"
    r"|[,;:()<>\d]| [-–] ",
    re.IGNORECASE,
)
AGREEMENT = {
    "is": "are", "has": "have", "measures": "measure", "projects": "project", "represents": "represent",
    "contains": "contain",
}  # fmt: skip


def is_phrase(words: str) -> bool:
    """Whether words are one plain noun phrase: no verb, no second thing, no number, nothing that compares or doubts."""
    return bool(words.strip()) and len(words.split()) <= 10 and not _VERBS.search(words)


def article_of(phrase: str) -> str:
    """Return ``"a "``, ``"an "`` or nothing, as the noun of a phrase takes it."""
    # The noun that a phrase is about is the last word before a place.
    words = re.split(r"\b(?:in|on|at|of|over|within|near|along)\b", phrase, maxsplit=1, flags=re.IGNORECASE)[0].split()
    noun = words[-1].lower() if words else ""
    plural = noun.endswith("s") and not noun.endswith(("is", "us", "ss"))
    if not noun or plural or _MASS.fullmatch(noun):
        return ""
    return f"{indefinite(phrase)} "


_GRADED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "size": {"mild": ("small", "tiny", "trace", "minimal"), "moderate": ("moderate",), "severe": ("large", "massive")},
    "degree": {
        "mild": ("mild", "minimal", "minor", "slight"), "moderate": ("moderate",),
        "severe": ("severe", "marked", "advanced"),
    },
    "manner": {
        "mild": ("mildly", "slightly", "minimally"), "moderate": ("moderately",), "severe": ("severely", "markedly"),
    },
}  # fmt: skip
_SIZED = ("effusion", "pneumothorax", "hernia", "hiatal_hernia", "pericardial_effusion", "mass")
_GRADE_WORDS = {word for grades in _GRADED.values() for words in grades.values() for word in words}
_GRADE_WORD = re.compile(rf"\b(?:{'|'.join(sorted(_GRADE_WORDS, key=len, reverse=True))})\b", re.IGNORECASE)
_OTHER_GRADES = re.compile(
    r"\b(?:subtle|patchy|confluent|dense|extensive|moderate-sized|tiny to|to moderate|to large|to severe"
    r"|(?:trace|minimal) (?:(?:pleural|pericardial) )?fluid|(?:widely|mildly|minimally) displaced)\b",
    re.IGNORECASE,
)
# Beside a bound another grade or number may be as true: who has at least four nodules has at least two.
_BOUND = re.compile(
    r"\b(?:at (?:least|most)|(?:more|greater|larger|less|fewer|smaller) than|up to"
    r"|or (?:more|greater|larger|less|fewer|smaller))\b",
    re.IGNORECASE,
)
_PLACES: Mapping[str, tuple[str, ...]] = {
    "upper lobe": ("lower lobe",), "lower lobe": ("upper lobe",), "middle lobe": ("upper lobe", "lower lobe"),
    "upper lobes": ("lower lobes",), "lower lobes": ("upper lobes",), "upper zone": ("lower zone",),
    "lower zone": ("upper zone",), "upper zones": ("lower zones",), "lower zones": ("upper zones",),
    "mid zone": ("upper zone", "lower zone"), "lung base": ("lung apex",), "lung bases": ("lung apices",),
    "lung apex": ("lung base",), "lung apices": ("lung bases",), "RUL": ("RLL",), "RLL": ("RUL",),
    "RML": ("RUL", "RLL"), "LUL": ("LLL",), "LLL": ("LUL",),
}  # fmt: skip
_SPELLED = sorted((key for key in _PLACES if key.islower()), key=len, reverse=True)
_PLACE = re.compile(rf"\b(?:(?i:{'|'.join(_SPELLED)})|R[UML]L|L[UL]L)\b")
_ANY_PLACE = re.compile(
    r"\b(?:ap(?:ex|ical|ices)|bas(?:e|es|al|ilar)|lobes?|zones?|R[UML]L|L[UL]L|perihilar|lingula\w*"
    r"|(?:upper|mid(?:dle)?|lower) (?:and|or))\b"
)
_NUMBERS = ("two", "three", "four", "five", "six")
_SEVERAL = re.compile(
    r"\b(?P<number>two|three|four|five|six|[2-6])(?P<rest> (?:[a-z-]+ ){0,3}?(?P<noun>[a-z]+s)\b)", re.IGNORECASE
)
_ONE = re.compile(
    r"\b(?P<article>a |an )?(?P<one>solitary|single) (?P<middle>(?:[\d.]+ [mc]m )?(?:[a-z-]+ ){0,2}?)"
    r"(?P<noun>nodule|mass|lesion|opacity|granuloma|cyst|fracture)\b(?P<verb> (?:is|has|measures|projects))?",
    re.IGNORECASE,
)
#: device -> its names, and the devices that may stand in its place
DEVICES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "endotracheal_tube": (("endotracheal tube", "ET tube", "ETT"), ("nasogastric_tube",)),
    "nasogastric_tube": (("nasogastric tube", "NG tube", "NGT"), ("endotracheal_tube",)),
    "central_line": (
        ("central venous catheter", "central venous line", "central line", "CVC"), ("chest_tube", "pacemaker"),
    ),
    "pacemaker": (("pacemaker", "cardiac pacemaker", "cardiac pacing device"), ("central_line", "chest_tube")),
    "chest_tube": (("chest tube",), ("central_line", "pacemaker")),
}  # fmt: skip
_ONLY_THERE = re.compile(  # what one device alone has
    r"\b(?:leads?|generator|ventric\w*|intubat\w*|pectoral|chest wall|pacing wires?|vena cava|SVC|cavoatrial|drain\w*"
    r"|side port|stomach|gastric|esophag\w*|fluid component)\b",
    re.IGNORECASE,
)


def change_side(sentence: str) -> str | None:
    """Return the sentence with the other side; None where it states nothing of one side alone.

    Example:
        >>> change_side("Small left effusion.")
        'Small right effusion.'
    """
    return turned(sentence) if states_a_side(sentence) else None


def change_severity(sentence: str, finding: str, grade: str, word: str = "") -> str | None:
    """Return the sentence with another grade (``"mild" | "moderate" | "severe"``); None where the word is not alone.

    Args:
        sentence: with one word of grade.
        finding: that it grades.
        grade: the other one.
        word: how it is said, where that word fits the place of the old one; else the first of its kind.

    Example:
        >>> change_severity("Small left effusion.", "effusion", "severe")
        'Large left effusion.'
        >>> change_severity("A moderate left effusion.", "effusion", "mild", "trace")
        'A trace left effusion.'
    """
    found = grade_word(sentence, finding)
    if found is None:
        return None
    words = _GRADED[found.family][grade]
    other = word if word in words else words[0]
    changed = _GRADE_WORD.sub(lambda match: capital(other) if match[0][0].isupper() else other, sentence)
    return re.sub(rf"\b([Aa])n? (?={other}\b)", r"\1n " if other[0] in "aeiou" else r"\1 ", changed)


class GradeWord(NamedTuple):
    """A word of grade, the grade, and the class of words that can stand in its place."""

    word: str
    grade: str
    family: str


def grade_word(sentence: str, finding: str) -> GradeWord | None:
    """Return the only word that grades a finding in a sentence; None where there is not one alone, or a bound.

    Example:
        >>> grade_word("Tiny left effusion.", "effusion")
        GradeWord(word='tiny', grade='mild', family='size')
        >>> grade_word("At least moderate left effusion.", "effusion")
    """
    found = _GRADE_WORD.findall(sentence)
    unclear = len(found) != 1 or _OTHER_GRADES.search(sentence) or _BOUND.search(sentence)
    return None if unclear else as_grade_word(found[0].lower(), finding)


def as_grade_word(word: str, finding: str) -> GradeWord | None:
    """Return a word as it grades a finding; None where it grades nothing."""
    families = [name for name, grades in _GRADED.items() if any(word in several for several in grades.values())]
    family = families[0] if len(families) == 1 else "size" if finding in _SIZED else "degree"
    grades = [grade for grade, several in _GRADED[family].items() if word in several]
    return GradeWord(word, grades[0], family) if grades else None


def other_places(sentence: str) -> tuple[str, ...]:
    """Return the places that may stand for the only one of a sentence.

    Example:
        >>> other_places("Left upper lobe nodule."), other_places("Upper lobe nodule, lower lobe mass.")
        (('lower lobe',), ())
    """
    found = _PLACE.findall(sentence)
    if len(found) != 1 or len(_ANY_PLACE.findall(sentence)) != 1:
        return ()
    return _PLACES.get(found[0], _PLACES.get(found[0].lower(), ()))


def change_anatomy(sentence: str, place: str) -> str | None:
    """Return the sentence with another place for its only one.

    Example:
        >>> change_anatomy("Left upper lobe nodule.", "lower lobe")
        'Left lower lobe nodule.'
    """
    if place not in other_places(sentence):
        return None
    return _PLACE.sub(lambda match: capital(place) if match[0][0].isupper() else place, sentence)


def other_counts(sentence: str) -> tuple[str, ...]:
    """Return the numbers that may stand for the only one of a sentence that counts things; none beside a bound.

    Example:
        >>> other_counts("Two nodules are seen."), other_counts("At least two nodules are seen.")
        (('three', 'four', 'five', 'six'), ())
    """
    several, one = list(_SEVERAL.finditer(sentence)), list(_ONE.finditer(sentence))
    if len(several) + len(one) != 1 or _BOUND.search(sentence):
        return ()
    if one:
        return ("two", "three")
    number = several[0]["number"].lower()
    said = _NUMBERS[int(number) - 2] if number.isdigit() else number
    return tuple(word for word in _NUMBERS if word != said)


def change_count(sentence: str, number: str) -> str | None:
    """Return the sentence with another number of things, verb and noun agreeing.

    Example:
        >>> change_count("A solitary 8 mm nodule is seen in the left lung.", "two")
        'Two 8 mm nodules are seen in the left lung.'
    """
    if number not in other_counts(sentence):
        return None
    if _ONE.search(sentence):
        changed = _ONE.sub(lambda match: _several(match, number), sentence)
        return changed if changed[0].isupper() == sentence[0].isupper() else capital(changed)
    return _SEVERAL.sub(lambda match: _as_written(match["number"], number) + match["rest"], sentence)


def _as_written(before: str, number: str) -> str:
    if before.isdigit():
        return str(_NUMBERS.index(number) + 2)
    return capital(number) if before[0].isupper() else number


def _several(match: re.Match[str], number: str) -> str:
    noun = match["noun"]
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + ("es" if noun.endswith("s") else "s")
    verb = f" {AGREEMENT[match['verb'].strip().lower()]}" if match["verb"] else ""
    return f"{capital(number) if match[0][0].isupper() else number} {match['middle']}{plural}{verb}"


def change_device(sentence: str, device: str, other: str) -> str | None:
    """Return the sentence with another device; None where it tells what only the first one has.

    Example:
        >>> change_device("An ET tube ends 3 cm above the carina.", "endotracheal_tube", "nasogastric_tube")
        'A nasogastric tube ends 3 cm above the carina.'
    """
    names = sorted(DEVICES[device][0], key=len, reverse=True)
    pattern = re.compile(
        rf"\b(?P<article>an? )?(?P<name>{'|'.join(re.escape(name) for name in names)})\b(?!s)", re.IGNORECASE
    )
    if len(pattern.findall(sentence)) != 1 or _ONLY_THERE.search(sentence):
        return None
    if other == "pacemaker" and re.search(r"\btips?\b", sentence):
        return None
    name = DEVICES[other][0][0]

    def swap(match: re.Match[str]) -> str:
        text = f"{indefinite(name)} {name}" if match["article"] else name
        return capital(text) if match[0][0].isupper() and match.start() == 0 else text

    return pattern.sub(swap, sentence)


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
    """Return a sentence that denies what this one states; the degree goes with it. None where no form fits."""
    text = " ".join(sentence.split())
    if re.search(r"\b(?:no|nil|not|none|without|absent|resolved|never|free)\b", text, re.IGNORECASE):
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
    if match := re.fullmatch(r"(?:an? )?(?!the )(?P<x>[^.]+)\.", text, re.IGNORECASE):
        bare = _plain(match["x"])
        return f"No {bare}." if is_phrase(bare) else None
    return None


def _plain(phrase: str) -> str:
    """Return a noun phrase without its degree, in small letters but for abbreviations and names."""
    bare = _GRADES.sub("", phrase + " ").strip()
    first = bare.split()[0] if bare else ""
    named = re.match(r"[A-Z]{2}|Swan|Dob+hoff|Hickman|Kerley|Bochdalek|Morgagni|Port-|Impella", first)
    return bare if named else bare[:1].lower() + bare[1:]


def affirm_one(sentence: str, words: str) -> str | None:
    """Return a denied list in which the item with these words is stated and each other one denied alone.

    Example:
        >>> affirm_one("No effusion or pneumothorax.", "pneumothorax")
        'Pneumothorax. No effusion.'
    """
    if re.match(r"(?:as|compared|given|in|on|since|unlike|with)\b", sentence, re.IGNORECASE):
        return None  # "Compared to the prior." would be left
    clauses = split_clauses(sentence)
    own = [clause for clause in clauses if words.lower() in clause.lower()]
    stated = affirm(own[0]) if len(own) == 1 and len(clauses) > 1 else None
    return None if stated is None else " ".join([stated, *(clause for clause in clauses if clause != own[0])])
