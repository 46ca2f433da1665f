"""``slake``: questions in English and Chinese about 642 radiology images (Liu et al. 2021), one row a question."""

from __future__ import annotations

from typing import Literal

from medvlp.core.errors import DataError
from medvlp.data.layouts._files import Root, list_files, read_records
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest

# A copy on Hugging Face calls the second part validation.
_PARTS = {"train": ("train.json",), "validate": ("validate.json", "validation.json"), "test": ("test.json",)}
_FACTS = ("answer_type", "content_type", "base_type", "location", "modality", "q_lang")


def index(
    root: Root, *, language: Literal["en", "zh", "both"] = "en", images: str = "imgs", require_files: bool = True
) -> Manifest:
    """Index the questions of the three parts.

    Columns: ``id`` (``train-12``), ``image`` (``imgs/xmlab1/source.jpg``), ``id.study`` (the image: nobody says whose
    it is), ``text.question``, ``text.answer``, ``text`` (both), ``answer_type`` (OPEN, CLOSED), ``content_type``,
    ``base_type`` (vqa: from the image; kvqa: from the knowledge graph too), ``location`` (organ), ``modality``,
    ``q_lang``, ``split``.

    Args:
        root: folder of the JSON files and of the images.
        language: of the questions.
        images: folder of the images, below root.
        require_files: leave out, and list, questions whose image is not there.

    Raises:
        DataError: if no part is there, an entry lacks a field, or no image exists.
    """
    rows: list[Row] = []
    skipped: dict[str, list[str]] = {}
    for split, names in _PARTS.items():
        path = next((root / name for name in names if (root / name).is_file()), None)
        for entry in () if path is None else read_records(path, keys=("qid", "img_name", "question", "answer")):
            row = _row(entry, split, images)
            if language in ("both", row["q_lang"]):
                rows.append(row)
            else:
                skipped.setdefault("other_language", []).append(str(row["id"]))
    if not rows:
        raise DataError(f"{root} holds no question in {language!r} (train.json, validate.json, test.json): check root.")
    files = frozenset(list_files(root, [images], suffixes=(".jpg", ".png"))) if require_files else None
    return manifest_of(rows, root=root, layout="slake", files=files, skipped=skipped)


def _row(entry: dict[str, object], split: str, images: str) -> Row:
    name = str(entry["img_name"]).strip()
    question, answer = (None if entry[key] is None else str(entry[key]).strip() for key in ("question", "answer"))
    return {
        "id": f"{split}-{entry['qid']}",
        "id.study": name.partition("/")[0],
        "image": f"{images}/{name}",
        "text": " ".join(filter(None, (question, answer))),
        "text.question": question,
        "text.answer": answer,
        **{key: str(entry.get(key) or "").strip() for key in _FACTS},
        "split": split,
    }
