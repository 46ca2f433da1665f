"""``ms_cxr``: phrases of reports with boxes on MIMIC-CXR images (Boecking et al. 2022), one row a phrase."""

from __future__ import annotations

from medvlp.data.cards import load_card
from medvlp.data.layouts._files import OnProgress, Root, by_stem, list_files, on_file
from medvlp.data.layouts._published import Row, find_table, manifest_of
from medvlp.data.manifest import Manifest
from medvlp.data.text_table import read_table

_TABLE = "MS_CXR_Local_Alignment_v*.csv"
_ENDS = (".jpg", ".png", ".dcm")


def index(
    root: Root, *, images: str = "files", require_files: bool = True, workers: int = 0, progress: OnProgress = None
) -> Manifest:
    """Index the phrases; boxes of one phrase on one image are one row.

    Columns: ``id`` (image and number of the phrase), ``image``, ``id.patient`` and ``id.study`` (of the path), ``text``
    (the phrase), ``label.FINDING``, ``boxes.FINDING`` and ``sentence.FINDING`` of its finding, ``split`` in later
    versions. Boxes are in pixels of the file that is there: they were drawn on the original, and a smaller copy gets
    smaller ones.

    Args:
        root: folder of the table, with MIMIC-CXR's tree of images.
        images: folder of the images, below root.
        require_files: leave out, and list, phrases whose image is not there; boxes are then those of the table.
        workers: processes for listing folders.

    Raises:
        DataError: if the table or a column is missing, a category or box is none, or no image exists.
    """
    table = read_table(find_table(root, [_TABLE], what="table of MS-CXR"))
    findings = {word: finding for finding, word in load_card("ms_cxr").labels.items()}
    words = table.column("category_name" if "category_name" in table.names else "category")
    names, phrases, places = (table.column(name) for name in ("dicom_id", "label_text", "path"))
    splits = table.column_or("split")
    numbers = [table.column(name) for name in ("x", "y", "w", "h", "image_width", "image_height")]
    files, _ = by_stem(list_files(root, [images], suffixes=_ENDS, workers=workers, progress=progress))
    rows: dict[tuple[str, str, str], Row] = {}
    for at, (name, word, phrase) in enumerate(zip(names, words, phrases, strict=True)):
        table.check_word(at, word, findings, what="category")
        x, y, width, height, across, down = table.box(at, [column[at] for column in numbers])
        path = files.get(name)
        file = root / path if path is not None else None
        box = on_file([(x, y, x + width, y + height)], file, (across, down))[0]
        finding, parts = findings[word], places[at].split("/")
        row = rows.setdefault((name, word, phrase), {})
        if row:
            row[f"boxes.{finding}"].append(box)  # pyrefly: ignore
            continue
        row |= {
            "id": f"{name}-{sum(key[0] == name for key in rows) - 1}",
            "id.patient": parts[-3].removeprefix("p") if len(parts) > 2 else None,
            "id.study": parts[-2].removeprefix("s") if len(parts) > 1 else None,
            "image": path or f"{images}/{'/'.join(parts[parts.index('files') + 1 :] if 'files' in parts else parts)}",
            "text": phrase,
            "split": {"val": "validate"}.get(splits[at], splits[at]) or None,
            f"label.{finding}": 1,
            f"boxes.{finding}": [box],
            f"sentence.{finding}": phrase,
        }
    there = frozenset(files.values()) if require_files else None
    return manifest_of(list(rows.values()), root=root, layout="ms_cxr", files=there, skipped={})
