"""``vqa_rad``: questions and answers about radiology images (Lau et al. 2018).

Two forms are read: the published file, in which a question's ``phrase_type`` begins with ``test`` in the test part, and
``trainset.json`` with ``testset.json``, which others made of it. Both parts ask about the same images: a test on
new questions, not on new patients.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medvlp.core.errors import DataError
from medvlp.data.layouts._files import Root, list_files, read_records
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest

_PUBLIC = "VQA_RAD Dataset Public.json"
_PARTS = {"train": "trainset.json", "test": "testset.json"}
_FOLDERS = ("VQA_RAD Image Folder", "images")
_TYPES = {"ATRIB": "ATTRIB", "PRSE": "PRES"}  # misspelt in the source
_KEYS = ("phrase_type", "question", "answer", "qid", "image_name", "answer_type", "question_type", "image_organ")
_NULL = ("", "NULL", "null", "None")


def index(root: Root, *, images: str | None = None, frames: bool = False, require_files: bool = True) -> Manifest:
    """Index the questions, one row a question.

    Columns: ``id`` (qid), ``image``, ``text.question``, ``text.answer``, ``text`` (both, parted by a blank),
    ``answer_type`` (OPEN, CLOSED), ``question_type`` (misspellings mended, several parted by ", "), ``phrase_type``,
    ``organ`` (HEAD, CHEST, ABD), ``split`` (train, test), and from the published file ``id.patient``, the MedPix case.
    Answers are words, also where the file has numbers.

    Args:
        root: folder of the files.
        images: folder of the pictures, below root (default: ``VQA_RAD Image Folder`` or ``images``).
        frames: of the published file, make each training question's other wording (``question_frame``) a row too.
        require_files: leave out, and list, questions whose image is not there.

    Raises:
        DataError: if no file is there, an entry lacks a field, or no picture exists.
    """
    folder = images if images is not None else next((n for n in _FOLDERS if (root / n).is_dir()), _FOLDERS[0])
    rows: list[Row] = []
    for path, split in _parts(root):
        rows += [row for entry in read_records(path, keys=_KEYS) for row in _rows(entry, split, folder, frames)]
    files = frozenset(list_files(root, [folder]))
    asked = {row["image"] for row in rows}
    meta = {"images_without_question": sorted(files - asked)}
    return manifest_of(rows, root=root, layout="vqa_rad", files=files if require_files else None, skipped={}, meta=meta)


def _parts(root: Path) -> list[tuple[Path, str]]:
    if (root / _PUBLIC).is_file():
        return [(root / _PUBLIC, "")]
    found = [(root / name, split) for split, name in _PARTS.items() if (root / name).is_file()]
    if not found:
        raise DataError(f"{root} holds neither {_PUBLIC!r} nor {' or '.join(_PARTS.values())}: check the root.")
    return found


def _rows(entry: dict[str, Any], split: str, folder: str, frames: bool) -> list[Row]:
    phrase = str(entry["phrase_type"]).strip()
    side = split or ("test" if phrase.startswith("test") else "train")
    question, answer = (None if entry[key] is None else str(entry[key]).strip() for key in ("question", "answer"))
    kinds = [part.strip().upper() for part in str(entry["question_type"]).split(",")]
    row: Row = {
        "id": str(entry["qid"]),
        "image": f"{folder}/{str(entry['image_name']).strip()}",
        "text": " ".join(filter(None, (question, answer))),
        "text.question": question,
        "text.answer": answer,
        "answer_type": str(entry["answer_type"]).strip().upper(),
        "question_type": ", ".join(_TYPES.get(part, part) for part in kinds if part),
        "phrase_type": phrase,
        "organ": str(entry["image_organ"]).strip().upper(),
        "split": side,
    }
    if "image_case_url" in entry:
        case = str(entry["image_case_url"] or "").strip()
        row["id.patient"] = None if case in _NULL else case
    frame = str(entry.get("question_frame") or "").strip()
    if not frames or side != "train" or frame in _NULL:
        return [row]
    again = {"id": f"{row['id']}-frame", "text": " ".join(filter(None, (frame, answer))), "text.question": frame}
    return [row, row | again | {"phrase_type": "frame"}]
