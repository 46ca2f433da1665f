"""The headers of a tree of DICOM files, read in parallel up to the pixels."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medvlp.core.errors import DataError
from medvlp.data.layouts._files import linked_folders, list_files
from medvlp.data.parallel import Progress, chunked, notify, run_chunks
from medvlp.io.dicom_file import inflated
from medvlp.io.errors import UnreadableImage
from medvlp.io.sniff import open_regular, sniff

if TYPE_CHECKING:
    from pydicom import Dataset

_KEYWORDS = (
    "SOPInstanceUID", "StudyInstanceUID", "PatientID", "AccessionNumber", "Modality", "ViewPosition", "ImageLaterality",
    "Laterality", "PatientSex", "PatientAge", "InstitutionName", "Manufacturer", "ManufacturerModelName",
    "PatientIdentityRemoved", "Rows", "StudyDate", "StudyTime", "IssuerOfPatientID", "SeriesInstanceUID",
    "SeriesDescription", "ImageType", "ConvolutionKernel", "NumberOfFrames",
)  # fmt: skip
_AGE = re.compile(r"0*(\d{1,3})([DWMY]?)")
_A_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0, "": 1.0}
_OLDEST = 120
_BEFORE_PIXELS = 0x7FE00000
_CHUNK = 32
_NO_IMAGE = ("not_an_image", "unsupported_format", "archive")


@dataclass(frozen=True)
class Header:
    r"""What a manifest needs of one file: its path relative to the root, and the tags that are there, stripped.

    Several values of a tag stand as DICOM writes them, with ``\`` between; `field` is that of the path.
    """

    path: str
    tags: dict[str, str]
    field: str = "image"

    def get(self, keyword: str) -> str:
        """Value of a tag, empty where there is none."""
        return self.tags.get(keyword, "")

    @property
    def patient(self) -> str:
        """Patient ID, with its issuer where several of the tree give it: it is unique within one (PS3.3 C.7.1.1)."""
        return "\\".join(filter(None, (self.get("PatientID"), self.get("IssuerOfPatientID").casefold())))

    @property
    def age(self) -> int | None:
        """Whole years (DICOM PS3.5, AS), at most 90: above that an age identifies (45 CFR 164.514)."""
        age = years(self.get("PatientAge"))
        return None if age is None else min(90, age)

    @property
    def deidentified(self) -> str:
        """``yes``, ``no`` or ``unknown``, from Patient Identity Removed (0012,0062)."""
        return {"YES": "yes", "NO": "no"}.get(self.get("PatientIdentityRemoved").upper(), "unknown")


def years(text: str) -> int | None:
    """Whole years of an age as DICOM and public sets write it: ``57``, ``058Y``, ``018M``; above 120 it is no age.

    Example:
        >>> years("57"), years("058Y"), years("018M"), years("412Y"), years("")
        (57, 58, 1, None, None)
    """
    match = _AGE.fullmatch(text)
    if match is None:
        return None
    age = int(int(match[1]) / _A_YEAR[match[2]])
    return age if age <= _OLDEST else None


@dataclass(frozen=True)
class Scan:
    """Headers of image files in the order of their paths, what else was there (reason -> paths), and its headers."""

    headers: tuple[Header, ...]
    skipped: dict[str, list[str]] = field(default_factory=dict)
    beside: tuple[Header, ...] = ()


def scan_tree(
    root: Path, *, folder: str = ".", modalities: Sequence[str], workers: int = 0, progress: Progress | None = None
) -> Scan:
    """Read all headers below a folder.

    Args:
        root: what paths are relative to.
        folder: below root, where the files are; one that holds no wanted image is a `DataError`.
        modalities: wanted values of Modality (0008,0060).
    """
    top = (root / folder).resolve()
    if not top.is_dir():
        raise DataError(f"The folder {root / folder} does not exist: check the root of the data.")
    base = root.resolve()
    if not top.is_relative_to(base):
        raise DataError(
            f"The folder {root / folder} leads out of {root}: give a root that holds the images themselves."
        )
    paths = list_files(base, [str(top.relative_to(base))])
    chunks = chunked(paths, _CHUNK)
    headers: list[Header] = []
    beside: list[Header] = []
    linked = linked_folders(base, str(top.relative_to(base)))
    skipped: dict[str, list[str]] = {"linked_folder": linked} if linked else {}
    seen: set[str] = set()
    done = 0
    for chunk in run_chunks(_read, base, chunks, workers=workers):
        for path, tags, reason in chunk:
            reason = reason or _refusal(tags, modalities, seen)
            if reason:
                skipped.setdefault(reason, []).append(path)
                beside.append(Header(path, tags))
            else:
                seen.add(tags["SOPInstanceUID"])
                headers.append(Header(path, tags))
        done += len(chunk)
        notify(progress, done, len(paths))
    if not headers:
        counts = ", ".join(f"{len(some)} {reason}" for reason, some in sorted(skipped.items())) or "no files at all"
        raise DataError(
            f"{root / folder} holds no {' or '.join(modalities)} image ({counts}): check the folder and the modalities."
        )
    issuers: dict[str, set[str]] = {}
    for header in headers:
        issuers.setdefault(header.get("PatientID"), set()).add(header.get("IssuerOfPatientID").casefold())
    for header in headers:
        if not header.get("PatientID") or len(issuers[header.get("PatientID")] - {""}) < 2:
            header.tags.pop("IssuerOfPatientID", None)
    return Scan(tuple(headers), skipped, tuple(beside))


def _refusal(tags: dict[str, str], modalities: Sequence[str], seen: set[str]) -> str:
    if not tags.get("SOPInstanceUID"):
        return "no_instance_uid"
    if "Rows" not in tags:
        return "no_pixels"
    if tags.get("Modality", "") not in modalities:
        return "other_modality"
    return "repeated" if tags["SOPInstanceUID"] in seen else ""


def _read(base: Path, chunk: Sequence[str]) -> list[tuple[str, dict[str, str], str]]:
    out = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values of the file, which may be a patient's
        for path in chunk:
            tags: dict[str, str] = {}
            reason = ""
            try:
                if (base / path).is_symlink() and not (base / path).resolve().is_relative_to(base):
                    reason = "outside_the_root"
                else:
                    found = _header(base / path)
                    tags = {k: _text(value) for k in _KEYWORDS if (value := found.get(k)) not in (None, "")}
            except UnreadableImage as error:  # as other layouts and readers call it
                reason = "not_dicom" if error.reason in _NO_IMAGE else error.reason
            except Exception:  # a damaged header can fail anywhere in the parser; the file is listed, not dropped
                reason = "unreadable"
            out.append((path, tags, reason))
    return out


def _text(value: object) -> str:
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return "\\".join(str(each).strip() for each in value) if several else str(value).strip()


def _header(path: Path) -> Dataset:
    """The tags of a file, told by its first bytes and inflated within a cap, as `medvlp.io` does it."""
    from pydicom import dcmread
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_dataset
    from pydicom.tag import BaseTag

    with open_regular(path) as stream:
        if (kind := sniff(stream)) != "dicom":
            raise UnreadableImage("not_an_image", detail=f"it is {kind}")
        data_set = inflated(stream)
        if data_set is None:
            return dcmread(stream, stop_before_pixels=True, specific_tags=list(_KEYWORDS), force=True)
    tags: list[BaseTag | int] = [BaseTag(tag) for name in _KEYWORDS if (tag := tag_for_keyword(name)) is not None]
    return read_dataset(data_set, False, True, stop_when=lambda tag, *_: tag > _BEFORE_PIXELS, specific_tags=tags)
