"""An archive by DICOMweb: asked, read and written to. Its address and password come from whoever starts the server."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydicom import dcmread

from medvlp.core.errors import UserError
from medvlp.io.dicom_file import quiet

#: What a list of studies shows (PS3.18 10.6.3).
_FIELDS = ("StudyInstanceUID", "StudyDate", "StudyDescription", "PatientID", "PatientName", "ModalitiesInStudy",
           "NumberOfStudyRelatedInstances", "AccessionNumber")  # fmt: skip


@dataclass(frozen=True)
class Pacs:
    """A DICOMweb service.

    Attributes:
        url: its root, such as ``http://127.0.0.1:8042/dicom-web``.
        credentials: a file with ``USER:PASSWORD``; None where it asks for none.
        most: studies of a list.
    """

    most: ClassVar[int] = 100
    url: str
    credentials: Path | None = None
    _client: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            from dicomweb_client import DICOMwebClient
            from dicomweb_client.session_utils import create_session_from_user_pass
        except ImportError:
            raise UserError(
                "DICOMweb needs dicomweb-client, which is not installed: pip install 'openmedvlp[pacs]'."
            ) from None
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise UserError(
                "The archive's address is no http or https URL, or holds a password: give the password in a file."
            )
        session = None
        if self.credentials is not None:
            try:
                user, colon, password = self.credentials.read_text(encoding="utf-8").strip().partition(":")
            except (OSError, UnicodeDecodeError):
                raise UserError(f"{self.credentials} cannot be read: name a file with USER:PASSWORD.") from None
            if not colon:
                raise UserError(f"{self.credentials} does not hold USER:PASSWORD: write both in one line.")
            session = create_session_from_user_pass(user, password)
        client = DICOMwebClient(self.url, session=session)
        client.set_http_retry_params(max_attempts=3, wait_exponential_multiplier=250)  # someone waits: seconds, not 30
        object.__setattr__(self, "_client", client)

    def studies(self, *, patient: str = "", date: str = "") -> list[dict[str, str]]:
        """Query studies (QIDO-RS) by patient, date or both.

        Args:
            patient: ID of the patient.
            date: YYYYMMDD, or a range YYYYMMDD-YYYYMMDD.

        Returns:
            `most` studies at most, each field as text.

        Raises:
            UserError: nothing was asked for, the date is none, or the archive does not answer.
        """
        wanted = {name: value for name, value in (("PatientID", patient), ("StudyDate", date)) if value}
        if not wanted:
            raise UserError("Nothing was asked for: give a patient ID or a date.")
        if date and not re.fullmatch(r"\d{8}|\d{8}-|-\d{8}|\d{8}-\d{8}", date):
            raise UserError(f"{date} is no date that an archive knows: write 2026-01-31.")
        asked = {"search_filters": wanted, "fields": list(_FIELDS), "limit": self.most}
        found = self._ask(lambda: self._client.search_for_studies(**asked))
        with quiet():
            return [_plain(each) for each in found]

    def retrieve(self, study: str, folder: Path) -> list[Path]:
        """Retrieve a study into files named by number (WADO-RS).

        Args:
            study: Study Instance UID.
            folder: private, already there.

        Raises:
            UserError: the archive does not answer, or has none.
        """

        def get() -> list[Path]:
            paths = []
            for number, dataset in enumerate(self._client.iter_study(study)):
                path = folder / f"{number:05d}.dcm"
                dataset.save_as(path, enforce_file_format=True)
                paths.append(path)
            return paths

        return self._ask(get)

    def store(self, objects: Iterable[bytes]) -> int:
        """Store DICOM objects (STOW-RS); return how many the archive took.

        Raises:
            UserError: it does not answer, or refused one of them.
        """
        datasets = [dcmread(io.BytesIO(each)) for each in objects]
        answer = self._ask(lambda: self._client.store_instances(datasets))
        failed = answer.get("FailedSOPSequence", [])
        if failed:
            reason = failed[0].get("FailureReason")
            raise UserError(
                f"The archive refused {len(failed)} of {len(datasets)} objects (reason {reason}): see its log."
            )
        return len(answer.get("ReferencedSOPSequence", []))

    def _ask(self, call: Any) -> Any:  # noqa: ANN401
        try:
            return call()
        except Exception as error:
            # The library's messages quote the whole URL, and with it what was asked for.
            status = getattr(getattr(error, "response", None), "status_code", None)
            why = f"answered {status}" if status else f"did not answer ({type(error).__name__})"
            raise UserError(f"The archive {why}: check that it runs, its address and the password file.") from None


def _plain(found: Mapping[str, Any]) -> dict[str, str]:
    from pydicom.dataset import Dataset
    from pydicom.multival import MultiValue

    dataset = Dataset.from_json(dict(found))
    return {
        name: "\\".join(map(str, value)) if isinstance(value := dataset.get(name, ""), MultiValue) else str(value)
        for name in _FIELDS
    }
