"""``coco_captions``: pictures with captions in the form of COCO's annotation files (general).

``{"images": [{"id", "file_name"}], "annotations": [{"id", "image_id", "caption"}]}``; other keys are not looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from medvlp.core.errors import DataError
from medvlp.core.files import read_json
from medvlp.data.layouts._files import Root, list_files, skip
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest


def index(
    root: Root,
    *,
    annotations: str | dict[str, str],
    images: str | dict[str, str] = ".",
    captions: Literal["each", "first", "joined"] = "each",
    patient: str | None = None,
    require_files: bool = True,
) -> Manifest:
    """Index the captions, one row a caption, or with ``first`` and ``joined`` one row an image.

    Columns: ``id``, ``image``, ``text``, ``id.study`` (the image's number in its file: captions of one image are no
    negatives of each other), ``split`` where `annotations` names splits, and ``id.patient`` where `patient` is given.

    Args:
        root: folder of all.
        annotations: file, below root, or split -> file: ``{train: annotations/captions_train2017.json, ...}``.
        images: folder of the pictures, below root, or split -> folder.
        captions: of an image with several: a row of ``each``, the ``first``, or all ``joined`` by blanks.
        patient: key of an image's entry that names its patient. Without one a split by patient cannot be made.
        require_files: leave out, and list, images whose file is not there.

    Raises:
        DataError: for a file that is missing or not of this form, a split without a folder, or no image that exists.
    """
    named = annotations if isinstance(annotations, dict) else {"": annotations}
    folders = images if isinstance(images, dict) else dict.fromkeys(named, images)
    skipped: dict[str, list[str]] = {}
    rows: list[Row] = []
    for split, name in named.items():
        if split not in folders:
            raise DataError(f"images names no folder for the split {split!r}: add it, or give one folder for all.")
        start = "" if folders[split] in ("", ".") else f"{folders[split].rstrip('/')}/"
        rows += _rows(root / name, split, start, captions, patient, skipped)
    files = frozenset(list_files(root, sorted(set(folders.values())))) if require_files else None
    return manifest_of(rows, root=root, layout="coco_captions", files=files, skipped=skipped)


def _rows(
    path: Path, split: str, start: str, captions: str, patient: str | None, skipped: dict[str, list[str]]
) -> list[Row]:
    entries, words = _parts(path, patient)
    rows: list[Row] = []
    prefix = f"{split}/" if split else ""
    for number, entry in entries.items():
        texts = words.pop(number, [])
        if not texts:
            skip(skipped, "no_caption", str(entry["file_name"]))
            continue
        row: Row = {
            "id": f"{prefix}{number}",
            "id.study": f"{prefix}{number}",
            "image": f"{start}{entry['file_name']}",
            **({"id.patient": None if entry[patient] is None else str(entry[patient])} if patient else {}),
            **({"split": split} if split else {}),
        }
        if captions == "each":
            rows += [row | {"id": f"{prefix}{number}-{which}", "text": text} for which, text in texts]
        else:
            rows.append(row | {"text": texts[0][1] if captions == "first" else " ".join(text for _, text in texts)})
    for number in words:
        skip(skipped, "caption_without_image", f"{prefix}{number}")
    return rows


def _parts(path: Path, patient: str | None) -> tuple[dict[str, dict[str, Any]], dict[str, list[tuple[str, str]]]]:
    """Images by number, and the captions of each in the order of the file."""
    content: Any = read_json(path)
    try:
        images = {str(image["id"]): image for image in content["images"]}
        for image in images.values():
            image["file_name"], image[patient or "id"]
        words: dict[str, list[tuple[str, str]]] = {}
        for entry in content["annotations"]:
            text = " ".join(str(entry["caption"] or "").split())
            if text:
                words.setdefault(str(entry["image_id"]), []).append((str(entry["id"]), text))
    except KeyError as error:
        raise DataError(f"{path} has an entry without {error}: it must hold images and annotations with it.") from None
    except TypeError:
        raise DataError(f"{path} does not hold the lists images and annotations: check which file it is.") from None
    return images, words
