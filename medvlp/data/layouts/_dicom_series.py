"""Slices of a DICOM tree as volumes: one header a series, whose path is the folder that holds its slices alone."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

from medvlp.core.errors import DataError
from medvlp.data.layouts._dicom_tree import Header, Scan
from medvlp.data.layouts._files import skip

VOLUMES = ("CT", "MR", "PT")  # modalities whose series are volumes


def join_series(scan: Scan) -> Scan:
    """Put the slices of each CT, MR or PET series together; images of other modalities stay as they are.

    A series becomes the first header of it, with the path of its folder (of its file, where it is one of many frames)
    and ``volume`` as its field. What `medvlp.io.read_volume` could not tell apart is listed among `Scan.skipped`:
    localizers, slices without a series UID, a series of several studies or in several folders, and a folder of several,
    whatever their modality.

    Args:
        scan: of a tree, in the order of paths.

    Raises:
        DataError: if nothing is left.
    """
    skipped = {reason: list(paths) for reason, paths in scan.skipped.items()}
    series: dict[str, list[Header]] = {}
    headers: list[Header] = []
    for header in scan.headers:
        if _is_slice(header):
            series.setdefault(header.get("SeriesInstanceUID"), []).append(header)
        elif header.get("Modality") not in VOLUMES:
            headers.append(header)
        else:
            skip(skipped, "localizer", header.path)
    slices = (header for header in scan.headers + scan.beside if _is_slice(header))
    held = Counter(folder for folder, _ in {(_folder(slice_), slice_.get("SeriesInstanceUID")) for slice_ in slices})
    for uid, own in series.items():
        first, folder, reason = own[0], _folder(own[0]), ""
        if not uid:
            reason = "no_series_uid"
        elif len({(slice_.patient, slice_.get("StudyInstanceUID")) for slice_ in own}) > 1:  # which report is theirs?
            reason = "series_of_several_studies"
        elif len(own) == 1 and first.get("NumberOfFrames") not in ("", "0", "1"):
            folder = first.path
        elif len({_folder(slice_) for slice_ in own}) > 1:
            reason = "series_in_several_folders"
        elif held[folder] > 1:
            reason = "folder_of_several_series"
        if reason:
            skipped.setdefault(reason, []).extend(slice_.path for slice_ in own)
        else:
            headers.append(Header(folder, first.tags, "volume"))
    if not headers:
        counts = ", ".join(f"{len(paths)} {reason}" for reason, paths in skipped.items())
        raise DataError(
            f"No series can be a volume ({counts}): put the slices of each into a folder of "
            "their own, as `medvlp data deidentify` writes them."
        )
    return Scan(tuple(sorted(headers, key=lambda header: header.path)), skipped)


def _is_slice(header: Header) -> bool:
    # Value 3 of Image Type in CT and MR tells localizers (PS3.3 C.8.2.1.1.1).
    return header.get("Modality") in VOLUMES and "LOCALIZER" not in header.get("ImageType").upper()


def _folder(header: Header) -> str:
    return str(PurePosixPath(header.path).parent)
