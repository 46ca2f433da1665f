"""Identifiers cut out of report text: the words that are known of the patient, and what has the form of an identifier.

Rules find forms, not meaning: a name that nothing announces ("Miller agrees") is found only where it is known from
a column or a header. Read a sample before text leaves the house.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from medvlp.io.deidentify.known import REMOVED, KnownWords
from medvlp.text.blanks import plain_blanks
from medvlp.text.report_words import BARE, PARTS, SMALL, clinical_words

_MONTH = (
    r"(?:mai\b|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|f[ée]v|avr|jui|ao[uû]|déc|märz|okt|dez)[a-z]*)\.?"
)
_NAMED = (  # whole words, so that "marked 3" and "decreased 2" are none
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)"
)
_LABEL = (
    r"(?:hospital|unit|serial|lot|licen[cs]e|certificate|beneficiary)(?=\s*(?:no|num|#))|licen[cs]e plate|s/n|vin|gmc|"
    r"npi|mrn|m\.r\.n\.|medical record|accession|acc|patient id|pat\.? id|id|ssn|dob|date of birth|account|acct|"
    r"encounter|visit|order|phone|telephone|t[ée]l\.?|fax|pager|beeper|bleep|ext\.?|x(?=\d{4,5}\b)|passport|insurance|"
    r"policy|nhs|chi|health card|p\.?o\.? box|apt|ward|room|bed"
)
_BY = (
    r"(?:electronically |digitally )?(?:dictated|signed|read|reported|interpreted|reviewed|approved|verified|"
    r"transcribed|finali[sz]ed|authenticated|authori[sz]ed|countersigned)(?: and \w+)? by|patient name"
)
_ROLE = (
    r"attending(?: physician| radiologist)?|radiologist|resident|fellow|referring physician|ordering provider|"
    r"tech(?:nologist|nician)?|physician|transcriptionist|reader|reviewer|signed|surgeon|registrar|radiographer"
)
_TOLD = (
    r"(?:seen(?! by XX)|(?:perform|referr|request|order|enter|check|typ|validat|scann)ed) by|d/w|surname|"
    r"patient|name|next of kin|message left (?:with|for)|"
    r"(?:discussed|spoken?|consulted|communicated)(?-i:(?: [a-z]+){0,3}) with|"
    r"(?:called|spoke|relayed|conveyed|reported|(?:tele)?phoned|communicated) to"
)
_KIN = "wife|husband|mother|father|daughter|son|brother"
_DIGIT = "one|two|three|four|five|six|seven|eight|nine"
_OLD = rf"(?:0?(?:9\d|1[01]\d)|(?:ninety|(?:a |one )?hundred)(?:(?:[- ]and)?[- ](?:{_DIGIT}))?)"
_UNIT = r"[ \t-]*+(?:(?:[cm]m|m[lg]|cc|hu|x|×|views?)(?![a-z])|%|y)"  # behind a number that is none of a person
_TITLE = (  # "MR", "MS" and "DR" in capitals and without a stop may be an examination or a disease, "MISS" a verb
    r"(?:\b(?:[Dd]rs?|[Dd]octor|[Pp]rof(?:essor)?|[Mm]r|[Mm]rs|Ms|(?<!\d )ms|[Mm]iss|[Nn]urse)\b\.?"
    r"|\b(?:DRS|DOCTOR|PROF(?:ESSOR)?|MRS)\b\.?|\b(?:DR|MR|MS)\.)"
)
_START = r"\b(?<![\w'’^./-]{255})"  # of a word or of a part of it, far enough in front that time is linear
_CAPITAL = f"[{''.join(filter(str.isupper, map(chr, range(0x1F00))))}]"  # Latin with all accents, Greek, Cyrillic
_STREET = r"(?:Street|St|Avenue|Ave|Road|Rd|Drive|Lane|Boulevard|Blvd|Court|Terrace|Crescent|Parkway|Highway)"
_ROAD = "rue|avenue|boulevard|chemin|impasse|quai|calle|rua|piazza|avenida"  # before its name
_PLACE = r"(?:Hospital|Cent[er]{2}|Nursing Home|Clinic|Infirmary|Health(?:care| System)|University|Institute|Hospice)"


def _one_of(words: Iterable[str]) -> str:
    """Any of the words, in the singular or the plural, alone or before a hyphen ("right-sided")."""
    forms: dict[str, list[str]] = {}
    for word in sorted(set(words), reverse=True):
        forms.setdefault(word[0], []).append(word[1:])
        if word[-1] in "yY":
            forms[word[0]].append(word[1:-1] + ("IES" if word.isupper() else "ies"))
    choice = "|".join(f"{first}(?:{'|'.join(rest)})" for first, rest in forms.items())
    behind = "sided|up|ray|based|lateral|dependent|level|grade|term|year"
    return rf"(?:{choice})(?:[eE]?[sS])?(?:-(?i:{behind})\b)?(?![\w'’-])"


def _part(words: Iterable[str], *, in_capitals: Iterable[str]) -> str:
    """A word with a capital that is none of these and no title; in capitals it is none of the others either."""
    none = _one_of([*_capitalised(words), *(word.upper() for word in in_capitals)])
    return rf"(?:(?:{_CAPITAL}\.)++|(?:St|Wm)\.|(?={_CAPITAL})(?!{none}|{_TITLE}){_CAPITAL}[\w'’^-]*+)"


def _capitalised(words: Iterable[str]) -> list[str]:
    return [form for word in words for form in (word.capitalize(), word.upper())]


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    clinical = clinical_words()
    inside = _part(BARE, in_capitals=SMALL | clinical)
    first = rf"(?:A[ \t]+(?={_part(BARE | clinical, in_capitals=SMALL)}))?"  # "Dr A Smith", not "DR. A SMALL EFFUSION"
    of = r"(?:(?:van|von|de|der|la|al|el|bin)\b|med\.)"
    more = rf"(?:,?[ \t]+(?:{inside}|{of})){{0,3}}"
    # after a title or "read by" that can announce nothing else
    name = rf"(?:{of}[ \t]+){{0,3}}{first}" + _part(BARE, in_capitals=SMALL) + more
    seen = first + _part(BARE | PARTS, in_capitals=SMALL) + more
    only = _part(BARE | clinical, in_capitals=SMALL)
    weak = first + only + more
    others = rf"(?:(?:[ \t]*+[&/]|,?[ \t]+and\b)[ \t]*+{weak})*"  # "Drs. Smith and Jones"
    small = rf"(?!{_one_of(BARE | SMALL | clinical)})(?!{_CAPITAL})[^\W\d_][\w'’-]+"
    listed = first + inside + more
    ends = r"[ \t]*(?:[,;)\n]|\.\D|\.?$|(?:on|by|via|and the)\b)"  # a time of day
    age = r"\d{1,3}[- ]*(?:[MF]\b|[yY]\w*\b(?![ \t]+(?:ago|later|prior|after)))"
    titled = rf"{_CAPITAL}[a-z'’-]+[ \t]+(?:{_CAPITAL}\.[ \t]+)?(?!(?:Of|In|On|And|To|With|From)\b){only}"
    said = _one_of(_capitalised(clinical))
    sentence = rf"{said}[ \t]+(?:[a-z]|{said})"  # "Resident: Small right effusion", but not "Resident: Small, Jane"
    return tuple(re.compile(pattern) for pattern in (
        r"(?<![\w.+-])[\w.+-]++@[\w-]+\.[\w.-]+|(?i:https?://|www\.)\S+",
        rf"(?i)\b(?:\d\d?[-/.]?{_NAMED}[-/.]?(?:19|20)?\d\d|{_NAMED}[-/.]\d\d?[-/.](?:19|20)?\d\d)\b",  # 05JAN2020
        rf"(?i)\b(?:19|20)\d\d[-/.]?{_NAMED}[-/.]?\d\d?\b",
        rf"(?i)\b{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+\d{{4}}\b",
        rf"(?i)\b\d{{1,2}}(?:st|nd|rd|th|er|\.)?[\s-]+(?:of\s+)?{_MONTH}[\s,-]+\d{{2,4}}\b",
        rf"(?i)\b{_MONTH},?(?:\s+of)?[\s-]+(?:19|20|['’])\d\d\b",
        rf"(?i)\b{_NAMED}\b\.?\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?!\s*[mc]m\b)",
        rf"(?i)\b\d{{1,2}}(?:st|nd|rd|th)?[\s-]+(?:of\s+|(?-i:(?!may\b))){_NAMED}\b\.?(?!\w)",
        r"\b(?:0?[1-9]|[12]\d|3[01])[-/.](?:0?[1-9]|[12]\d|3[01])[-/.](?:(?:19|20)\d\d|\d\d)\b",
        r"\b(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?:T\d\d:?\d\d(?::?\d\d)?Z?)?\b",
        r"\b(?:(?:0?[1-9]|1[0-2])[-/](?:19|20)\d\d|(?:19|20)\d\d(?:/0?[1-9]|-0[1-9]|[-/]1[0-2]))\b",
        r"(?i)(?:(?<=\bon )|(?<=\bfrom )|(?<=\bdated )|(?<=\bsince )|(?<=\bcomparison: )|(?<=\bstudy of ))"
        r"(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])\b(?!(?: to \d/\d)? (?:of|strength)\b)",
        r"\b\d{1,2}:\d\d(?::\d\d)?(?:\s*[aApP]\.?[mM]\b\.?)?",
        r"(?i)\b(?:\d\d?[ \t]*(?:[ap]\.m\.|[ap]m\b)|(?:[01]\d|2[0-3])[:.]?[0-5]\d[ \t]*(?:hrs?|hours?|h)\b)",
        rf"(?i)(?<=\bat )(?<!T[EIR] at )(?:[01]\d|2[0-3])[0-5]\d(?=(?:[ \t]+and at \d{{4}})?{ends})",
        r"\b(?:[A-Z]{1,2}\d[A-Z\d]?[ \t]\d(?!ST|ND|RD|TH)[ABD-HJLNP-UW-Z]{2}|[A-Z]\d[A-Z][ \t]\d[A-Z]\d)\b",  # postcode
        rf"\b(?:{_CAPITAL}\w+[ \t]+){{0,2}}{_CAPITAL}\w+,[ \t]+[A-Z]{{2}}[ \t]+\d{{5}}(?:-\d{{4}})?\b",
        r"(?<!\d)(?:\+?\d{1,3}[-. ]?)?\(?\d{3}\)?[-. ]\d{3,4}[-. ]\d{4}\b",
        r"\+\d{1,3}[-. ]?(?:\(0\) ?)?\d{2,4}(?:[-. ]\d{3,6}){1,3}\b",
        rf"(?i){_START}(?:{_LABEL})(?:\s*+(?:no|nr|number|num)\b\.?)?\s*+[:#=]*+\s*+[#:]?\s*+"
        rf"(?!\d+(?:\.\d+)?{_UNIT})(?=[\w/-]*\d)[\w/-]+(?:[ \t]\d{{2,5}}\b(?![.:/-]\d|{_UNIT}))*+",
        r"\b(?![CTLS]?[1-9]\d{0,2}-[1-9]\d{0,2}\b(?!-))"  # T10-12 is none
        r"(?:[A-Za-z]{0,4}-?\d[\d-]{3,}\d(?:T\d+Z?)?|\d+(?:\.\d+){3,})\b",
        rf"{_TITLE}(?:[ \t]+|(?<=\.)){name}{others}",
        rf"\b(?:[Dd]rs?\b\.?|[Mm]rs?\.|Ms\.|(?<!\d )ms\.)(?:[ \t]+{small}){{1,3}}",  # "dr. smith"
        rf"\b(?:DR[ \t]+{seen}|(?:MR|MS|MISS|NURSE)[ \t]+{weak})",
        r"(?i:\b(?:m\.?d\.?|gp|pcp|consultant|clinician|reporter|sonographer|pt|doctor|provider|author|operator|trainee|"
        r"supervisor|nurse|referr(?:er|ing)|ordering|requesting|dictating|staff|attn|attention|contact|notified|"
        rf"signed electronically)[ \t]*:[ \t]*|/s/[ \t]*)(?:{weak})(?=[\s,.;]|$)",
        rf"(?i:\b(?:re|cc|to|from|{_KIN}):[ \t]*)(?=(?:{_CAPITAL}(?:\.|[a-z'’-]+(?![ \t]+(?:Of|In|On|And|To|With)\b)"
        rf")|[^\s,]+,)[ \t]+{_CAPITAL})(?:{weak})(?=[\s,.;]|$)",
        rf"\b(?i:{_KIN})(?::[ \t]*|[ \t]+\()(?={_CAPITAL}[a-z'’-]+[ \t]*(?:[,;.)\n]|$)){only}",
        rf"\A\s*+{only},[ \t]*+{only}(?:[ \t]+{only})?(?=[ \t]*(?:\n|[-–—|]))",
        rf"{_START}{_CAPITAL}(?:[^\W\d_]|['’-])++\^{_CAPITAL}[\w^'’-]*+",  # Doe^Jane
        rf"\b(?i:{_KIN}|baby (?:boy|girl))[ \t]+(?={_CAPITAL}[a-z'’-]){weak}",
        rf"\b(?=[^\W\d]+[ \t]+{_CAPITAL}){weak}(?=,?[ \t]+(?:is|was)[ \t]+an?[ \t]+\d{{1,3}}[- ]*(?:y|[MF]\b))",
        rf"{_START}{only}(?:,?[ \t]+{only}){{1,3}}(?=,?[ \t]+(?:(?:[MF],?[ \t]+)?{age}|DOB\b|MRN\b))",
        rf"{_START}(?!XXXX){only},[ \t]+(?!XXXX){only}(?=[ \t]+XXXX\b)",
        rf"(?:(?<=\d[MF][ ,])|(?<=[\dYy] [MF][ ,])|(?<=male[ ,])|(?<=[o ]man[ ,]))[ \t]*(?={titled}){weak}",
        rf"(?:(?<=\bI, )(?={weak},)|(?<=\b[Bb]y )(?=(?:{_CAPITAL}\.[ \t]*)+(?!{_CAPITAL}\.){only})){weak}",
        rf"\b(?=(?:{_CAPITAL}\.|[^\W\d]+)[ \t]+{_CAPITAL}){weak}(?= (?:agree|concur|was (?:notified|informed|paged)))",
        rf"{_START}{listed},?[ \t]+(?:M\.?D\.?|D\.O\.|Ph\.?D\.?|FRCR|MBBS)(?!\w)",
        rf"{_START}{weak},?[ \t]+(?:DO(?=[ \t]*(?:[,.;)\n]|$))|(?:R\.?N\.?|PA-C|R\.T\.|CRNP|APRN|DNP)(?!\w)|RT(?=\())",
        rf"(?i:\b(?:{_BY})\b[ \t]*+[:\-]?[ \t]*+)(?:{name}{others})(?=[\s,.;]|$)",
        rf"(?i:\b(?:{_ROLE})[ \t]*:[ \t]*)(?!{sentence})(?:{name})(?=[\s,.;]|$)",
        rf"(?i:{_START}(?:{_ROLE}|{_TOLD})\b[ \t]*+[:\-]?[ \t]*+)(?:PA[ \t]+)?(?:{weak}{others})(?=[\s,.;]|$)",
        rf"{_START}(?:{_CAPITAL}[\w'’.]++[ \t]++){{1,4}}{_PLACE}\b",
        rf"\b\d{{1,5}}[A-Za-z]?[ \t]+(?:{_CAPITAL}\w+[ \t]+){{1,3}}{_STREET}\b\.?",
        rf"\b(?:\d{{1,4}},?[ \t]+)?(?i:{_ROAD})[ \t]+(?:(?:d[aeou]s?|del|l[aeo]s?)[ \t]+|[dl]['’])*{_CAPITAL}\w+"
        rf"(?:[ \t-]+{_CAPITAL}\w+)*(?:,?[ \t]+\d{{1,4}}\b)?",
        rf"\b(?i:ward)(?::[ \t]*|[ \t]+)(?={_CAPITAL}[a-z]){only}(?:[ \t]+\d+\b)?",
        rf"\b{_CAPITAL}\w*(?:str(?:aße|asse|\.)|weg|platz|allee)[ \t]+\d{{1,4}}[a-z]?\b",
        r"(?i)\b(?<!\btemp )(?<!\btmax )(?<!\btemperature )(?<!\bfever to )(?<!\bfebrile to )"
        rf"(?:(?:nonage|cente)narian|nineties|{_OLD}(?=[- ]*(?:years?|yrs?|y(?:[./]?o\.?)?[mf]?|(?-i:[MF](?!/)))\b))",
        rf"(?i)(?:(?<=\bage )|(?<=\bage: )|(?<=\baged )){_OLD}\b",
    ))  # fmt: skip


def deidentify_text(text: str, known: KnownWords | None = None) -> str:
    """Put ``XXXX`` where text identifies: known words, dates, times, numbers, contacts, announced names, places."""
    text = plain_blanks(text.replace("\xad", ""))  # "Dr.\xa0Mil\xadler" is announced too
    text = (known or KnownWords()).scrub(text)
    for pattern in _patterns():
        text = pattern.sub(REMOVED, text)
    return text
