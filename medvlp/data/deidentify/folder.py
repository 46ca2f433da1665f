"""A folder, file or archive of images and reports -> a new folder without identifiers, and a report of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medvlp.core.errors import DataError, UserError, did_you_mean
from medvlp.core.files import make_folder, remove_left, write_bytes, write_json, write_text, written_whole
from medvlp.core.memory import keep_freed_memory
from medvlp.core.provenance import code_hash
from medvlp.core.pseudonym import secret_key
from medvlp.data.deidentify.journal import Journal, fingerprint
from medvlp.data.deidentify.table import deidentify_table
from medvlp.data.parallel import Progress, notify, run_chunks
from medvlp.data.text_table import read_table
from medvlp.io.archive import is_archive, unpacked
from medvlp.io.deidentify.dicom import CleanFile, deidentify_dicom
from medvlp.io.deidentify.nifti import deidentify_nifti
from medvlp.io.deidentify.profile import Profile
from medvlp.io.deidentify.secret import Secret
from medvlp.io.errors import UnreadableImage
from medvlp.io.sniff import open_regular, sniff
from medvlp.text.deidentify import deidentify_text

_TABLES, _TEXTS = (".csv", ".tsv"), (".txt",)
_AHEAD = 32 << 20  # bytes of a file that a worker cleans: some four a worker wait in memory


@dataclass(frozen=True)
class Deidentified:
    """Outcome of de-identifying a folder: counts of files written, skipped and refused.

    Attributes:
        written: files in the output, those of earlier runs included.
        again: of these, files that an earlier run had done.
        left: reason -> how many files were left out.
        masked: files with text painted over.
        report: the report, counts only, in the output.
        journal: the list of files, private, beside the output.
    """

    written: int
    again: int
    left: dict[str, int]
    masked: int
    report: Path
    journal: Path


def deidentify_folder(
    source: Path,
    out: Path,
    *,
    profile: Profile | None = None,
    key_file: Path | None = None,
    keep_columns: Sequence[str] = (),
    workers: int = 0,
    progress: Progress | None = None,
) -> Deidentified:
    """De-identify every DICOM and NIfTI file, table (.csv, .tsv) and text (.txt) of a folder, file or archive.

    Nothing of the source is changed. What cannot be cleaned is not written: the journal names it with the reason.
    Names of files and folders are new, since old ones tell names. Start it again after an interruption: what is done
    is not done again, but where the file or this program changed, or its output was removed; what an earlier version of
    it became goes then.

    Args:
        source: a folder, a file, or a zip or tar archive.
        out: a new folder, or that of an earlier run with the same options and key.
        profile: options; by default the basic profile with shifted dates and masked text.
        key_file: 32 bytes in hex, mode 0600, made where it is not there; by default the installation's own.
        keep_columns: columns of tables that are copied as they are.
        workers: processes that clean DICOM files; 0: this one.

    Raises:
        UserError: the source is not there, no table of it has a column that is to be kept, or the output lies in it,
            holds something else, or was made otherwise.
    """
    profile = profile or Profile()
    _check(source, out)
    keep_freed_memory()  # of pictures one after the other; forked workers inherit the setting
    files = _files(source)
    if not files:
        raise UserError(f"{source} holds no file: check the path.")
    _check_columns(source, files, keep_columns)
    key = secret_key(key_file)
    asked = {"options": asdict(profile), "key": fingerprint(key), "columns": sorted(keep_columns)}
    make_folder(out)
    journal = Journal(_journal_of(out), asked)
    worker = _Worker(out, profile, Secret(key), tuple(keep_columns), journal)
    again = 0
    try:
        remove_left(out)
        journal.forget_removed(out)
        names = [path.name if source.is_file() else path.relative_to(source).as_posix() for path in files]
        new = [path for path, name in zip(files, names, strict=True) if not journal.done(name, _stamp(path))]
        cleaned, waiting = run_chunks(_cleaned, (profile, worker.secret), new, workers=workers), set(new)
        for number, (path, name) in enumerate(zip(files, names, strict=True), 1):
            # What was done may be to do again by now: a copy, when the file that it is of became another.
            before, again = again, again + worker.take(path, name, next(cleaned) if path in waiting else None)
            if again == before or number == len(files):  # what was done before tells nothing of the time left
                notify(progress, number, len(files))
        report = _report(journal, asked)
        write_json(out / "report.json", report)
    finally:
        journal.close()
    left = Counter(line["reason"] for line in journal if "reason" in line)
    return Deidentified(
        written=report["files"]["written"], again=again, left=dict(left), masked=report["pixels"]["files_masked"],
        report=out / "report.json", journal=journal.path,
    )  # fmt: skip


def _files(source: Path) -> list[Path]:
    # A link to a folder is not followed, as it may lead anywhere: it, and a folder closed to us, is refused and listed.
    inside: list[Path] = []
    for place, folders, names in os.walk(source, onerror=lambda error: inside.append(Path(error.filename))):
        inside.extend(Path(place, name) for name in names)
        inside.extend(path for name in folders if os.path.islink(path := Path(place, name)))  # noqa: PTH114 (never fails)
    return sorted(inside)  # of what is no folder the thing itself, since it cannot be listed either


def _check_columns(source: Path, files: Sequence[Path], wanted: Sequence[str]) -> None:
    """Refuse names that no table has. Of a table's own names the nearest is told: its first line may hold patients."""
    there = set(_columns(files)) if wanted else set()
    if there and (name := next((name for name in wanted if name not in there), None)) is not None:
        near = did_you_mean(name, there).partition("? (")[0]
        hint = f"{near}?" if near.startswith("did you mean ") else "see their first lines."
        raise UserError(f"No table of {source} has the column {name!r} to keep: {hint}")


def _columns(files: Sequence[Path]) -> Iterator[str]:
    """Yield the names of the columns of tables, those in archives included."""
    for path in files:
        with suppress(UnreadableImage, DataError), _members(path) as folder:
            if folder is not None:
                yield from _columns(_files(folder))
            elif path.suffix.lower() in _TABLES:
                yield from read_table(path).names


def _journal_of(out: Path) -> Path:
    return out.resolve().with_name(f"{out.resolve().name}.private.jsonl")


def _check(source: Path, out: Path) -> None:
    if not source.exists():
        raise UserError(f"{source} does not exist: check the path.")
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise UserError(f"{out} lies in {source}, which is never written to: name a folder elsewhere.")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _journal_of(out).exists())):
        raise UserError(f"{out} is not empty and no run of this command made it: name a new folder.")


@dataclass(frozen=True)
class _Worker:
    out: Path
    profile: Profile
    secret: Secret
    keep: tuple[str, ...]
    journal: Journal

    def take(self, path: Path, name: str, clean: CleanFile | UnreadableImage | None = None) -> int:
        """Do one file, or those of an archive; return how many were done before. `clean` is what `_cleaned` gave."""
        stamp = _stamp(path)
        if self.journal.done(name, stamp):
            return 1
        try:
            if isinstance(clean, UnreadableImage):
                raise clean
            with _members(path) if clean is None else nullcontext() as folder:
                if folder is None:
                    line = self._clean(path, name) if clean is None else self._dicom(clean, name)
                else:
                    inner = sorted(each for each in folder.rglob("*") if each.is_file())
                    again = sum(self.take(each, f"{name}!{each.relative_to(folder).as_posix()}") for each in inner)
                    if any("reason" in self.journal.lines[f"{name}!{e.relative_to(folder).as_posix()}"] for e in inner):
                        return again  # look into it again next time; its files are listed one by one
                    line = {"kind": "archive"}
        except UnreadableImage as error:
            line = {"reason": error.reason, "detail": error.detail}
        except DataError as error:
            line = {"reason": "table", "detail": str(error)}  # the journal is private
        line = {"file": name, "stamp": stamp, **line}
        if stale := self.journal.stale(line):
            (self.out / stale).unlink(missing_ok=True)
        self.journal.add(line)
        return 0

    def _clean(self, path: Path, name: str) -> dict[str, Any]:
        hidden = self.secret.name(name, prefix="f")
        if path.suffix.lower() in _TABLES:
            text, done = deidentify_table(path, profile=self.profile, secret=self.secret, keep=self.keep)
            write_text(self.out / "reports" / f"{hidden}.csv", text)
            return {"kind": "table", "out": f"reports/{hidden}.csv", "done": _flat(done)}
        if path.suffix.lower() in _TEXTS:
            return self._text(path, hidden)
        with open_regular(path) as stream:
            kind = sniff(stream)
            stream.seek(0)
            packed = stream.read(2) == b"\x1f\x8b"
        if kind == "dicom":
            return self._dicom(_clean_dicom(path, self.profile, self.secret), name)
        if kind == "nifti":
            place = f"nifti/{hidden}.nii" + (".gz" if packed else "")
            with written_whole(self.out / place) as temporary:
                fields = deidentify_nifti(path, temporary)
            return {"kind": "nifti", "out": place, "done": {f"nifti {field}|empty": 1 for field in fields}}
        raise UnreadableImage("unsupported_format", detail=f"a {kind} file says nothing of what is in its picture")

    def _dicom(self, clean: CleanFile, name: str) -> dict[str, Any]:
        place = clean.place
        if self.journal.places.get(place.as_posix(), name) != name:  # two files of one SOP Instance UID: both are kept
            if (self.out / place).read_bytes() == clean.data:
                return {"kind": "copy", "of": place.as_posix()}
            place = place.with_name(f"{place.stem}.{self.secret.name(name, prefix='f')}.dcm")
        if not (self.out / place).resolve().is_relative_to(self.out.resolve()):
            raise UnreadableImage("bad_header", detail="its place leads out of the output")
        write_bytes(self.out / place, clean.data)
        searched = clean.pixels
        facts = {"seen": searched.seen, "frames": searched.frames, "share": round(searched.share, 5)}
        return {"kind": "dicom", "out": place.as_posix(), "done": _flat(clean.done), "pixels": facts}

    def _text(self, path: Path, hidden: str) -> dict[str, Any]:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (UnicodeDecodeError, OSError):
            raise UnreadableImage("corrupt", detail="it is no UTF-8 text", path=path) from None
        write_text(self.out / "reports" / f"{hidden}.txt", deidentify_text(text))
        return {"kind": "text", "out": f"reports/{hidden}.txt"}


def _clean_dicom(path: Path, profile: Profile, secret: Secret) -> CleanFile:
    return deidentify_dicom(path, profile=profile, secret=secret, clean=deidentify_text)


def _cleaned(shared: tuple[Profile, Secret], path: Path) -> CleanFile | UnreadableImage | None:
    """Clean a DICOM file in a worker, or say why it cannot be; None of other files and of large ones."""
    try:
        with open_regular(path) as stream:
            ours = path.suffix.lower() not in (*_TABLES, *_TEXTS) and not is_archive(stream)
            ours = ours and path.stat().st_size <= _AHEAD
            stream.seek(0)
            if not ours or sniff(stream) != "dicom":
                return None
        return _clean_dicom(path, *shared)
    except UnreadableImage as error:
        return error


@contextmanager
def _members(path: Path) -> Generator[Path | None]:
    """The folder of an archive's files, or None of any other file."""
    with open_regular(path) as stream:
        archive = is_archive(stream)
    if not archive:
        yield None
        return
    with unpacked(path) as folder:
        yield folder


def _stamp(path: Path) -> str:
    try:
        facts = path.stat()
    except OSError:
        return ""
    return f"{facts.st_size}-{facts.st_mtime_ns}-{code_hash('data/deidentify', 'io', 'text')}"


def _flat(done: Counter[tuple[str, str]]) -> dict[str, int]:
    return {f"{name}|{action}": count for (name, action), count in sorted(done.items())}


def _report(journal: Journal, asked: dict[str, Any]) -> dict[str, Any]:
    """Counts by attribute and action; no value, no name of a file."""
    done, kinds, left = Counter[str](), Counter[str](), Counter[str]()
    seen = masked = 0
    for line in journal:
        left.update([line["reason"]] if "reason" in line else [])
        kinds.update([line["kind"]] if "kind" in line else [])
        done.update(line.get("done", {}))
        pixels = line.get("pixels", {"seen": False, "frames": 0})
        seen, masked = seen + pixels["seen"], masked + (pixels["frames"] > 0)
    actions: dict[str, dict[str, int]] = {}
    for name, count in sorted(done.items()):
        attribute, action = name.split("|")
        actions.setdefault(attribute, {})[action] = count
    written = sum(count for kind, count in kinds.items() if kind not in ("archive", "copy"))
    return {
        "profile": "PS3.15 Annex E, edition 2026c: Basic Application Level Confidentiality Profile",
        "options": asked["options"], "key": asked["key"],
        "files": {"written": written, "by_kind": dict(sorted(kinds.items())), "left_out": dict(sorted(left.items()))},
        "pixels": {"files_searched": seen, "files_masked": masked},
        "attributes": actions,
        "limits": [
            "Text is found by rules: a name that nothing announces and no header or column tells stays in a report.",
            "A face can be seen in a head scan's surface: nothing is done about that.",
        ],
    }  # fmt: skip
