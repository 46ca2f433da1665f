"""The report of the mirrored picture: every left a right, every right a left, or nothing where that cannot be."""

from __future__ import annotations

import re

from medvlp.text.side_words import SIDE_WORD, opposite

__all__ = ["mirror_sides"]

# Anatomy that has one side only, and names in which a side is no place: their mirror image is another patient.
_ONE_SIDED = re.compile(
    r"\b(?:dextro(?:cardi|posi|vers)\w*|levo(?:cardi|posi|vers|phase)\w*|situs|heterotaxy|isomerism|kartagener\w*"
    r"|lingul\w*|middle[\s-]lobe\w*|middle (?:and|or) (?:upper|lower) lobes?|RML|(?:minor|horizontal) fissure"
    r"|azygos|hemiazygos|aort(?:a|ic) (?:arch|knob|knuckle|button)|arch|(?:de|a)scending aorta|isthmus"
    r"|gastric|stomach|fund(?:us|al)|liver|hepat\w*|spleen\w*|splen\w*|gallbladder|cholecyst\w*|quadrants?|bowel|colon\w*"
    r"|chilaiditi\w*|apex of the heart|(?:cardiac|heart|ventricular) ap(?:ex|ical)|atri(?:um|al|a|o\w*)|ventric\w*"
    r"|left main|(?:left|right) heart|cor pulmonale|SVC|IVC|vena cava|cavoatrial|brachiocephalic|innominate"
    r"|subclavian arter\w*|thoracic duct|recurrent laryngeal|mitral|tricuspid|pulmonic valve|aortopulmonary|AP window"
    r"|scimitar|LA|LV|RA|RV|LAE|RAE|LVH|RVH|LVE|RVE|LAD|RCA|LIMA|RIMA|LVAD|RVAD|BiVAD|RVOT|LVOT|LAA|pacemaker leads?"
    r"|ICD|AICD)\b",
    re.IGNORECASE,
)
_NO_SIDE = re.compile(  # left and right that are no sides
    r"\bleft (?:in|behind|against|without|alone|over|open|the|untreated|after|before|today|to (?!right|the right))\b"
    r"|\b(?:all|bill of) rights?\b|\bright (?:away|now|after|before|there|through|of way|angles?)\b"
    r"|\b(?:patient|he|she|who) left\b",
    re.IGNORECASE,
)
_LONE_LETTER = re.compile(r"(?<!\w)[LR](?!\w)")
_PLAIN_LETTER = re.compile(r"\b(?:[Rr]/[Oo]|[LTC][- ]spine|[CTL]/[TLS](?:/[LS])?)\b")


def mirror_sides(text: str) -> str | None:
    """Return the text with left and right exchanged everywhere, abbreviations and curves of the spine included.

    Twice gives the text back. A text that names one-sided anatomy (lingula, middle lobe, aortic arch, stomach, chambers
    of the heart ...), a situs, or a "left", "L" or "R" that may be no side has no mirror image in words.

    Returns:
        str | None: the other text (the same where it names no side); None where there is none.

    Example:
        >>> mirror_sides("Right-sided effusion, LLL opacity, dextroscoliosis.")
        'Left-sided effusion, RLL opacity, levoscoliosis.'
        >>> mirror_sides("Lingular opacity.") is None
        True
    """
    if _ONE_SIDED.search(text) or _NO_SIDE.search(text):
        return None
    words = [match[0].strip() for match in SIDE_WORD.finditer(text)]
    if any(word not in (word.lower(), word.capitalize(), word.upper()) for word in words):
        return None  # "rIGHT": could not be turned back
    letters = _LONE_LETTER.findall(_PLAIN_LETTER.sub("", text))
    if len(letters) > sum(len(word) == 1 for word in words):
        return None
    return SIDE_WORD.sub(lambda match: opposite(match[0]), text)
