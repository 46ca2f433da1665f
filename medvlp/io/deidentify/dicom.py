"""One DICOM file -> one without identifiers: header, pixels, preamble and file meta information."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medvlp.io.deidentify.dataset import deidentify_dataset, read_values
from medvlp.io.deidentify.known import KnownWords
from medvlp.io.deidentify.pixels import PIXELS, Searched, clean_pixels
from medvlp.io.deidentify.profile import Profile
from medvlp.io.deidentify.secret import Secret
from medvlp.io.dicom_file import SLICES, inflated, quiet
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.sniff import open_regular

#: Objects whose content is a document, a film or a voice: no rule tells what identifies (PS3.3 A.45, A.32.5-8, A.34.2).
_DOCUMENTS = ("1.2.840.10008.5.1.4.1.1.104.", "1.2.840.10008.5.1.4.1.1.77.1.1.1", "1.2.840.10008.5.1.4.1.1.77.1.2.1",
              "1.2.840.10008.5.1.4.1.1.77.1.4.1", "1.2.840.10008.5.1.4.1.1.9.4.")  # fmt: skip
_IMPLEMENTATION = UID("2.25.197245936573021538861370459215790348612")


@dataclass(frozen=True)
class CleanFile:
    """A file without identifiers.

    Attributes:
        data: its bytes.
        place: where it goes, by new identifiers: patient/study/series/instance.dcm.
        done: how often each (attribute, action) was done.
        pixels: what was found in the pixels.
    """

    data: bytes
    place: PurePosixPath
    done: Counter[tuple[str, str]]
    pixels: Searched


def deidentify_dicom(
    path: Path, *, profile: Profile, secret: Secret, clean: Callable[[str, KnownWords], str] | None = None
) -> CleanFile:
    """Read a DICOM file and return it without identifiers; the file itself is not touched.

    Args:
        profile: options.
        secret: key of pseudonyms, UIDs and shifts.
        clean: makes kept free text free of identifiers; by default the words known from the header are cut out.

    Raises:
        UnreadableImage: it cannot be read, its pixels cannot be searched, or it is a document.
    """
    with open_regular(path) as stream, refusing(path), quiet() as warned:
        inflated(stream)  # refuses what swells without end, which pydicom would hold
        stream.seek(0)
        dataset = dcmread(io.BytesIO(stream.read()), force=True)
        read_values(dataset)
        if any("End of file" in str(each.message) for each in warned):
            raise UnreadableImage("truncated", detail="it ends inside an element")
        if not (dataset.get("SOPClassUID") and dataset.get("SOPInstanceUID")):
            raise UnreadableImage("bad_header", detail="it lacks a SOP UID: it is no DICOM object, or a DICOMDIR")
        if str(dataset.SOPClassUID).startswith(_DOCUMENTS):
            raise UnreadableImage("unsupported_format", detail="it is a document, film or voice: no rule can clean it")
        if ("Rows" in dataset or dataset.SOPClassUID in SLICES) and not any(dataset.get(name) for name in PIXELS):
            raise UnreadableImage("truncated", detail="it is an image and ends before its pixel data")
        if not dataset.file_meta.get("TransferSyntaxUID"):  # then it is the one that the file was read by
            implicit, little = dataset.original_encoding
            plain = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else plain
        stream.seek(0)
        shown = any(name in dataset for name in PIXELS)
        searched = clean_pixels(dataset, stream, mode=profile.pixels) if shown else Searched(seen=False)
        done = deidentify_dataset(
            dataset, profile=profile, secret=secret, clean=clean or (lambda text, known: known.scrub(text)),
            pixels_seen=searched.seen,
        )  # fmt: skip
        dataset.file_meta = _meta(dataset)
        dataset.preamble = b"\0" * 128
        buffer = io.BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=True)
    names = (str(dataset.get(name) or "none") for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
    return CleanFile(buffer.getvalue(), PurePosixPath(*names, f"{dataset.SOPInstanceUID}.dcm"), done, searched)


def _meta(dataset: Dataset) -> FileMetaDataset:
    """New file meta information: the old may name the sender (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID, meta.ImplementationVersionName = _IMPLEMENTATION, "MEDVLP"
    return meta
