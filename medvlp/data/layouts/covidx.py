"""``covidx``: COVIDx, chest X-rays put together from many sources (Wang et al. 2020; versions up to CXR-4).

Its lists have no header: each line is patient, file, class and, since version 7, source, parted by blanks. Patient
numbers are the sources' own and repeat across sources: a patient is (source, number).
"""

from __future__ import annotations

import re
from pathlib import Path

from medvlp.core.errors import DataError, did_you_mean
from medvlp.data.layouts._files import Root, list_files, skip
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest

_SPLITS = {"train": "train", "val": "validate", "test": "test"}
_LIST = re.compile(r"(train|val|test)(?:_COVIDx_?(?P<version>[\w-]+))?\.txt")
# What a class says of the picture. A patient with a positive test may have a normal film, and a negative one any other
# disease: those labels stay missing.
_LABELS: dict[str, dict[str, int]] = {
    "normal": {"no_finding": 1, "pneumonia": 0, "covid19": 0},
    "pneumonia": {"no_finding": 0, "pneumonia": 1, "covid19": 0},
    "COVID-19": {"covid19": 1},
    "positive": {"covid19": 1},
    "negative": {"covid19": 0},
}


def index(
    root: Root, *, version: str | None = None, lists: str = ".", images: str = ".", require_files: bool = True
) -> Manifest:
    r"""Index the lists, one row a line.

    Columns: ``id`` (``train/FILE``) and ``image``, ``id.patient`` (``source:number``), ``source``, ``split``, ``class``
    (as it stands), ``label.covid19``, ``label.pneumonia``, ``label.no_finding``.

    Args:
        root: folder of the data set.
        version: which lists, where there are several: ``9A`` is ``train_COVIDx9A.txt``, ``CXR-3A`` is
            ``train_COVIDx_CXR-3A.txt``, and an empty word is ``train.txt``.
        lists: folder of the lists, below root.
        images: folder of the folders ``train``, ``val`` and ``test``, below root.
        require_files: leave out, and list, images whose file is not there.

    Raises:
        DataError: if the release is not as it was published, or nothing of it is there.
    """
    found = _lists(root / lists, version)
    skipped: dict[str, list[str]] = {}
    rows: list[Row] = []
    start = "" if images == "." else f"{images.rstrip('/')}/"
    for split, path in found.items():
        for line, words in _lines(path):
            row = _row(words, split, start)
            if row is None:
                raise DataError(
                    f"{path}, line {line}: it is not 'patient file class [source]' with one of the classes "
                    f"{', '.join(_LABELS)}: check which file it is."
                )
            rows.append(row)
    rows = _without_repeats(rows, skipped)
    files = frozenset(list_files(root, [f"{start}{split}" for split in _SPLITS])) if require_files else None
    meta = {"lists": [path.name for path in found.values()]}
    return manifest_of(rows, root=root, layout="covidx", files=files, skipped=skipped, meta=meta)


def _lists(folder: Path, version: str | None) -> dict[str, Path]:
    versions: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.txt")):
        if name := _LIST.fullmatch(path.name):
            versions.setdefault(name["version"] or "", {})[name[1]] = path
    if not versions:
        raise DataError(f"{folder} holds no list train.txt or train_COVIDx....txt: check the root, or set lists.")
    if version is None and len(versions) > 1:
        names = ", ".join(map(repr, versions))
        raise DataError(f"{folder} holds the lists of several versions ({names}): choose one with `version`.")
    chosen = version if version is not None else next(iter(versions))
    if chosen not in versions:
        raise DataError(f"{folder} has no lists of the version {chosen!r}: {did_you_mean(chosen, versions)}.")
    return {split: versions[chosen][split] for split in _SPLITS if split in versions[chosen]}


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The words of each line that has some; the first is a record like all others."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text: download it again.") from None
    return [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _row(words: list[str], split: str, start: str) -> Row | None:
    if len(words) not in (3, 4) or words[2] not in _LABELS:
        return None
    patient, name, kind = words[:3]
    source = words[3] if len(words) == 4 else None
    path = f"{start}{split}/{name}"
    return {
        "id": f"{split}/{name}",
        "id.patient": f"{source}:{patient}" if source else patient,
        "image": path,
        "source": source,
        "split": _SPLITS[split],
        "class": kind,
        **{f"label.{finding}": _LABELS[kind].get(finding) for finding in ("covid19", "pneumonia", "no_finding")},
    }


def _without_repeats(rows: list[Row], skipped: dict[str, list[str]]) -> list[Row]:
    """A line that stands twice is one record; the same file with another class or patient is an error of the list."""
    first: dict[str, Row] = {}
    for row in rows:
        name = str(row["id"])
        if name not in first:
            first[name] = row
        elif first[name] == row:
            skip(skipped, "repeated_line", name)
        else:
            raise DataError(f"A COVIDx list names {name} twice, with different values: remove one of the lines.")
    return list(first.values())
