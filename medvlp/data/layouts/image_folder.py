"""``image_folder``: pictures in folders named by their class (general), PNG, JPEG, TIFF and DICOM.

``root/CLASS/...`` or ``root/SPLIT/CLASS/...``. What is a picture is told by the name's ending; where no name has one
that says picture, files without an ending are tried as DICOM.
"""

from __future__ import annotations

import re
from pathlib import Path

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.pseudonym import pseudonym, secret_key
from medvlp.data.layouts._dicom_tree import Scan, scan_tree
from medvlp.data.layouts._files import OnProgress, Root, finding_name, linked_folders, list_files, skip
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest
from medvlp.data.splits._lists import PART_WORDS

_RASTER = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_DICOM = (".dcm", ".dicom", ".ima")


def index(
    root: Root,
    *,
    images: str = ".",
    classes: dict[str, str] | None = None,
    patient: str | None = None,
    modalities: tuple[str, ...] = ("CR", "DX"),
    key_file: Path | None = None,
    workers: int = 0,
    progress: OnProgress = None,
) -> Manifest:
    r"""Index a tree of class folders, one row a picture.

    Columns: ``id`` and ``image`` (the path), ``class`` (the folder's name), ``label.CLASS`` for each class (1 in its
    own folder, 0 elsewhere), ``split`` where the first folders are all names of splits, ``id.patient`` with `patient`
    or of DICOM files, and of these ``id.study``, ``view_position``, ``sex``, ``age``, ``site``, ``deidentified``. Their
    identifiers are keyed hashes. Files that lie in no class folder are listed.

    Args:
        root: folder of all.
        images: folder of the class folders, below root.
        classes: folder name -> finding; folders that are not named are listed and left out. Without it each folder is
            a finding, its name in snake case.
        patient: regular expression that finds the patient in a path, by its first group or as a whole
            (``person(\d+)``). Pictures in which it finds nothing have no patient.
        modalities: wanted values of Modality in DICOM files; the others are listed.
        key_file: secret of the pseudonyms (default `medvlp.core.pseudonym.default_key_file`).
        workers: processes for reading DICOM headers.

    Raises:
        DataError: if there is no picture in a class folder, or a class that `classes` names has none.
        ConfigError: for a `patient` that is no regular expression.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("train/Normal/p1_a.png", "test/Pleural effusion/p2_a.png"):
        ...     (root / name).parent.mkdir(parents=True)
        ...     (root / name).touch()
        >>> manifest = index(root, patient=r"p(\d+)_")
        >>> manifest.names
        ('id', 'image', 'class', 'id.patient', 'split', 'label.normal', 'label.pleural_effusion')
        >>> manifest.column("label.normal").tolist()
        [0.0, 1.0]
    """
    if not (root / images).is_dir():
        raise DataError(f"The folder {root / images} does not exist: check the root of the data.")
    linked = linked_folders(root, images)
    skipped: dict[str, list[str]] = {"linked_folder": linked} if linked else {}
    start = "" if images in ("", ".") else f"{images.rstrip('/')}/"
    places = {path: path.removeprefix(start).split("/")[:-1] for path in list_files(root, [images])}
    # The first folders are splits where all are called so, and classes lie in them.
    inside = [folders for folders in places.values() if folders]
    split = all(folders[0].lower() in PART_WORDS for folders in inside) and any(len(folders) > 1 for folders in inside)
    of_class = _classes(places, split, classes, skipped)
    finding = classes or {name: finding_name(name) for name in sorted(set(of_class.values()))}
    if classes is None and len({name.lower() for name in finding}) > len(set(finding.values())):
        names = ", ".join(map(repr, finding))
        raise DataError(f"Classes of {root / images} differ in signs alone ({names}): name their findings by classes.")
    lacking = sorted(set(finding) - set(of_class.values()))
    if lacking:
        raise DataError(f"{root / images} has no picture in a folder {lacking[0]!r}, which classes names: change it.")
    try:
        pattern = re.compile(patient) if patient else None
    except re.error as error:
        raise ConfigError(f"patient is {patient!r}, which is no regular expression ({error}): change it.") from None
    rows: list[Row] = []
    for path, name in of_class.items():
        row: Row = {"id": path, "image": path, "class": name}
        if pattern:
            match = pattern.search(path)
            row["id.patient"] = match and (match[1] if pattern.groups else match[0])
        if split:
            row["split"] = PART_WORDS[places[path][0].lower()]
        rows.append(row | {f"label.{label}": int(label == finding[name]) for label in dict.fromkeys(finding.values())})
    if any(not path.lower().endswith(_RASTER) for path in of_class):
        scan = scan_tree(root, folder=images, modalities=modalities, workers=workers, progress=progress)
        rows = _with_headers(rows, scan, key_file, skipped)
    return manifest_of(rows, root=root, layout="image_folder", files=None, skipped=skipped)


def _classes(
    places: dict[str, list[str]], split: bool, classes: dict[str, str] | None, skipped: dict[str, list[str]]
) -> dict[str, str]:
    """Path -> class folder, of what is a picture in one."""
    found: dict[str, str] = {}
    suffixes = (*_RASTER, *_DICOM)
    if not any(path.lower().endswith(suffixes) for path in places):
        suffixes = ("",)
    for path, folders in places.items():
        name = path.rpartition("/")[2]
        suffix = Path(name).suffix.lower()
        below = folders[1:] if split else folders
        if suffix not in suffixes:
            skip(skipped, "no_picture", path)
        elif not below:
            skip(skipped, "no_class_folder", path)
        elif classes is not None and below[0] not in classes:
            skip(skipped, "other_class", path)
        else:
            found[path] = below[0]
    return found


def _with_headers(rows: list[Row], scan: Scan, key_file: Path | None, skipped: dict[str, list[str]]) -> list[Row]:
    """Add what DICOM headers say, and list the files that are no wanted image."""
    headers = {header.path: header for header in scan.headers}
    refused = {path: reason for reason, paths in scan.skipped.items() for path in paths}
    key = secret_key(key_file)
    out: list[Row] = []
    for row in rows:
        path = str(row["image"])
        header = headers.get(path)
        if header is not None:
            patient = row.get("id.patient") or pseudonym(header.patient, key, prefix="p")
            row |= {
                "id.patient": patient,
                "id.study": pseudonym(header.get("StudyInstanceUID"), key, prefix="s"),
                "view_position": header.get("ViewPosition"),
                "sex": header.get("PatientSex"),
                "age": header.age,
                "site": header.get("InstitutionName"),
                "deidentified": header.deidentified,
            }
        elif not path.lower().endswith(_RASTER):
            skip(skipped, refused.get(path, "not_dicom"), path)
            continue
        out.append(row)
    return out
