"""What a secret key makes of identifiers: the same key gives the same result, without the key it cannot be undone."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydicom.uid import UID_dictionary

from medvlp.core.pseudonym import pseudonym

_MOST_DAYS = 3650
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
# A DA, or a DT: what follows the day is a time and a zone (PS3.5 6.2), no second day.
_DATE = re.compile(r"[0-9]{8}(?:[ T]?[0-9:]*(?:\.[0-9]*)?(?:[+-][0-9:]{4,5}|Z)? *)")


def is_uid(value: str) -> bool:
    """Return whether a value has the form of a UID (PS3.5 9.1): if not it may hold a name, or lead out of a folder.

    Example:
        >>> is_uid("1.2.840.10008.1.2"), is_uid("1.2.840.10008.DOE^JANE"), is_uid("/tmp")
        (True, False, False)
    """
    return len(value) <= 64 and _UID.fullmatch(value) is not None


@dataclass(frozen=True, repr=False)
class Secret:
    """Keyed hashes of identifiers, UIDs and dates.

    Example:
        >>> secret = Secret(b"k" * 32)
        >>> secret.uid("1.2.3") == secret.uid("1.2.3"), secret.uid("1.2.840.10008.1.2")
        (True, '1.2.840.10008.1.2')
    """

    key: bytes

    def uid(self, value: str) -> str:
        """Return a UID under 2.25 (PS3.5 B.2); empty and those that the standard lists (PS3.6 Annex A) stay."""
        if not value or value in UID_dictionary:
            return value
        digest = hmac.new(self.key, f"uid {value}".encode(), hashlib.sha256).digest()
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"

    def name(self, value: str, *, prefix: str) -> str:
        """Return a pseudonym of at most 16 characters, as the shortest text attributes need; empty stays empty.

        Blanks before and behind an identifier are no part of it (PS3.5 6.2, LO and SH).
        """
        return pseudonym(value.strip(), self.key, prefix=prefix)[:16]

    def days(self, patient: str) -> int:
        """Return by how many days the dates of a patient go back: 1 to 3,650."""
        message = f"days {patient.strip()}".encode("utf-8", "surrogateescape")
        digest = hmac.new(self.key, message, hashlib.sha256).digest()
        return 1 + int.from_bytes(digest[:8], "big") % _MOST_DAYS

    def date(self, value: str, patient: str) -> str:
        """Shift a DA, or the date of a DT; what is no whole date becomes empty.

        Example:
            >>> secret = Secret(b"k" * 32)
            >>> a, b = (secret.date(day, "1") for day in ("20200228", "20200301123000.5"))
            >>> (datetime.strptime(b[:8], "%Y%m%d") - datetime.strptime(a, "%Y%m%d")).days, b[8:]
            (2, '123000.5')
        """
        digits = value.replace(".", "", 2) if value[4:5] == "." else value  # ACR-NEMA wrote 2020.02.28
        if not _DATE.fullmatch(digits):  # strptime takes 202011 for 1 January 2020
            return ""
        try:
            day = datetime.strptime(digits[:8], "%Y%m%d") - timedelta(days=self.days(patient))
        except (ValueError, OverflowError):
            return ""
        return f"{day:%Y%m%d}".zfill(8) + digits[8:]
