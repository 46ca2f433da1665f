"""Side, severity, place, count and device: one word of a sentence for another of its class."""

from __future__ import annotations

import re
from collections.abc import Mapping

from medvlp.text.hard_negatives._words import AGREEMENT, capital
from medvlp.text.laterality import states_a_side, turned

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
    r"|(?:trace|minimal) (?:pleural )?fluid|(?:widely|mildly|minimally) displaced)\b",
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
    r"\b(?:ap(?:ex|ical|ices)|bas(?:e|es|al|ilar)|lobes?|zones?|R[UML]L|L[UL]L|perihilar|lingula\w*)\b"
)
# A place that the other side lacks would give the copy away.
_ONE_SIDED = re.compile(
    r"\b(?:middle[ -]lobe|RML|lingul\w*|minor fissure|aort\w+|gastric|liver|hepatic|spleen)\b", re.IGNORECASE
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
    return turned(sentence) if states_a_side(sentence) and not _ONE_SIDED.search(sentence) else None


def change_severity(sentence: str, finding: str, grade: str) -> str | None:
    """Return the sentence with another grade (``"mild" | "moderate" | "severe"``); None where the word is not alone.

    Example:
        >>> change_severity("Small left effusion.", "effusion", "severe")
        'Large left effusion.'
    """
    found = _GRADE_WORD.findall(sentence)
    if len(found) != 1 or _OTHER_GRADES.search(sentence):
        return None
    word = found[0].lower()
    families = [name for name, grades in _GRADED.items() if any(word in several for several in grades.values())]
    family = families[0] if len(families) == 1 else "size" if finding in _SIZED else "degree"
    other = _GRADED[family][grade][0]
    changed = _GRADE_WORD.sub(lambda match: capital(other) if match[0][0].isupper() else other, sentence)
    return re.sub(rf"\b([Aa])n (?={other}\b)", r"\1 ", changed)


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
    """Return the numbers that may stand for the only one of a sentence that counts things.

    Example:
        >>> other_counts("Two nodules are seen.")
        ('three', 'four', 'five', 'six')
    """
    several, one = list(_SEVERAL.finditer(sentence)), list(_ONE.finditer(sentence))
    if len(several) + len(one) != 1:
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
    return _SEVERAL.sub(
        lambda match: (capital(number) if match["number"][0].isupper() else number) + match["rest"], sentence
    )


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
        article = "" if not match["article"] else "an " if name[0] in "aeiou" else "a "
        text = article + name
        return capital(text) if match[0][0].isupper() and match.start() == 0 else text

    return pattern.sub(swap, sentence)
