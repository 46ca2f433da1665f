"""Identifiers cut out of report text: the words that are known of the patient, and what has the form of an identifier.

Rules find forms, not meaning: a name that nothing announces ("spoke with Miller") is found only where it is known from
a column or a header. Read a sample before text leaves the house.
"""

from __future__ import annotations

import re

from medvlp.io.deidentify.known import REMOVED, KnownWords

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*\.?"
_NAME = r"[A-Z][\w'’^-]*\.?(?:,?[ \t]+(?:[A-Z]\.|[A-Z][\w'’-]+|(?:van|von|de|der|la|al|el|bin)\b)){0,3}"
_LABEL = (
    r"mrn|m\.r\.n\.|medical record|accession|acc|patient id|pat\.? id|id|ssn|dob|date of birth|account|acct|encounter|"
    r"visit|order|phone|telephone|tel|fax|pager|beeper|ext|passport|insurance|policy|nhs|chi"
)
_SIGNER = (
    r"(?:electronically |digitally )?(?:dictated|signed|read|reported|interpreted|reviewed|approved|verified|"
    r"transcribed|performed|finalized|authenticated)(?: and \w+)? by|discussed with|communicated to|called to|"
    r"attending(?: physician| radiologist)?|radiologist|resident|fellow|referring physician|ordering provider|"
    r"technologist|physician|transcriptionist|patient(?: name)?|name"
)
_PLACE = r"(?:Hospital|Medical Cent(?:er|re)|Clinic|Infirmary|Health System|Healthcare|University|Institute|Hospice)"
_PATTERNS = [
    re.compile(pattern)
    for pattern in (
        r"[\w.+-]+@[\w-]+\.[\w.-]+",
        r"(?i:https?://|www\.)\S+",
        rf"(?i)\b{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+\d{{4}}\b",
        rf"(?i)\b\d{{1,2}}(?:st|nd|rd|th)?[\s-]+{_MONTH}[\s,-]+\d{{2,4}}\b",
        rf"(?i)\b{_MONTH},?\s+(?:19|20)\d\d\b",
        r"\b(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])\b",
        r"\b(?:0?[1-9]|[12]\d|3[01])[-/.](?:0?[1-9]|[12]\d|3[01])[-/.](?:(?:19|20)\d\d|\d\d)\b",
        r"\b\d{1,2}:\d\d(?::\d\d)?(?:\s*[aApP]\.?[mM]\b\.?)?",
        r"(?<!\d)(?:\+?\d{1,3}[-. ]?)?\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}\b",
        rf"(?i)\b(?:{_LABEL})(?:\s*(?:no|nr|number|num)\b\.?)?\s*[:#=]*\s*[#:]?\s*(?=[\w/-]*\d)[\w/-]+",
        r"\b[A-Za-z]{0,4}-?\d[\d-]{3,}\d\b",
        rf"\b(?i:dr|drs|doctor|prof|professor|mr|mrs|ms|miss|nurse)\b\.?[ \t]+{_NAME}",
        rf"\b{_NAME},?[ \t]+(?:M\.?D\.?|D\.?O\.?|Ph\.?D\.?|R\.?N\.?|FRCR|MBBS|PA-C|R\.?T\.?)(?!\w)",
        rf"(?i:\b(?:{_SIGNER})\b[ \t]*[:\-]?[ \t]*)(?:{_NAME})(?=[\s,.;]|$)",
        rf"\b(?:[A-Z][\w'’.]+[ \t]+){{1,4}}{_PLACE}\b",
        r"\b\d{1,5}[ \t]+(?:[A-Z]\w+[ \t]+){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Drive|Lane|Boulevard|Blvd)\b\.?",
        r"(?i)\b(?:9\d|1[01]\d)(?=[- ]?(?:years?|yrs?|y\.?o\.?|y/o)\b)",
    )
]


def deidentify_text(text: str, known: KnownWords | None = None) -> str:
    """Put ``XXXX`` where text identifies: known words, dates, times, numbers, contacts, announced names, places."""
    if known is not None:
        text = known.scrub(text)
    for pattern in _PATTERNS:
        text = pattern.sub(REMOVED, text)
    return text
