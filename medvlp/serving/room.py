"""The reading room without its server: what a session may ask of its studies, of the models, of the samples."""

from __future__ import annotations

import base64
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from anyio import to_thread

from medvlp.core.errors import UserError
from medvlp.io.errors import UnreadableImage
from medvlp.io.stored_volume import StoredVolume, stored_volume
from medvlp.io.volume_read import read_volume
from medvlp.serving.audit import AuditLog
from medvlp.serving.documents import volume_document
from medvlp.serving.exporting import frames_of, shown_of
from medvlp.serving.exports.kinds import KINDS, export
from medvlp.serving.exports.pacs import Pacs
from medvlp.serving.maps import over_hung
from medvlp.serving.reader import BANNER, Reader
from medvlp.serving.samples import SAMPLES, Samples
from medvlp.serving.sessions import Sessions
from medvlp.serving.studies import Series, Study, read_study
from medvlp.serving.uploads import Upload

_NO_UPLOADS = (
    "Nothing can be uploaded here: this room is public and shows synthetic studies alone. "
    "Install medvlp to open your own."
)
_FIRST_ALONE = "The model looked at the first image only"


class Room:
    """What all routes and queued functions of the page are: plain calls that give plain data.

    Args:
        readers: models at work, the first is asked unless another is named.
        sessions: where studies are kept.
        samples: synthetic studies to click; None shows none.
        audit: where it is told what was done.
        folder: private folder for files that are being read.
        archive: a DICOMweb service; None where there is none.
        uploads: whether visitors may bring studies.
    """

    def __init__(
        self, readers: tuple[Reader, ...], sessions: Sessions, *, samples: Samples | None, audit: AuditLog,
        folder: Path, archive: Pacs | None = None, uploads: bool = True,
    ) -> None:  # fmt: skip
        self.readers, self.sessions, self._samples, self._audit = readers, sessions, samples, audit
        self._folder, self._archive, self._uploads = folder, archive, uploads
        self._described = [reader.describe() for reader in readers]
        self.presets = tuple({each["preset"] for each in self._described if each["preset"]})

    @property
    def document(self) -> dict[str, Any]:
        """What the page is told when it opens."""
        samples = [{"title": sample.title, "modality": sample.modality} for sample in SAMPLES] if self._samples else []
        limits = self.sessions.limits
        return {
            "models": self._described, "samples": samples, "banner": BANNER, "upload": limits.upload,
            "silence": limits.silence, "exports": list(KINDS), "archive": self._archive is not None,
            "closed": "" if self._uploads else _NO_UPLOADS,
        }  # fmt: skip

    @property
    def files(self) -> int:
        """How many files of anybody lie in the private folder."""
        return sum(path.is_file() for path in self._folder.rglob("*"))

    async def receive(self, token: str, chunks: AsyncIterator[bytes], *, framed: bool) -> dict[str, Any]:
        """Read an upload as a study; its files are gone when this returns.

        Raises:
            UserError: it is too large, cut off, or nothing of it can be shown; or nobody may upload here.
        """
        with self._upload(self.sessions.limits.upload) as upload:
            paths = await upload.receive(chunks, framed=framed)
            study = await to_thread.run_sync(partial(read_study, paths, presets=self.presets))
        return self._added(token, study, "upload")

    async def look(self, chunks: AsyncIterator[bytes]) -> dict[str, Any] | None:
        """Return the first look at a series by one of its files, which is gone when this returns; see `first_look`.

        Raises:
            UserError: it is too large; or nobody may upload here.
        """
        with self._upload(min(MOST_BYTES, self.sessions.limits.upload)) as upload:
            paths = await upload.receive(chunks, framed=False)
            return await to_thread.run_sync(first_look, paths[0])

    def sample(self, token: str, number: int) -> dict[str, Any]:
        """Open a synthetic study.

        Raises:
            KeyError: there is no such sample.
        """
        if self._samples is None or not 0 <= number < len(SAMPLES):
            raise KeyError(number)
        return self._added(token, self._samples.study(number, self.presets), "sample")

    def listed(self, token: str, patient: str, date: str) -> dict[str, Any]:
        """Return studies of an archive and the list's key; each is opened by its place, no identifier goes back.

        Raises:
            UserError: there is no archive, it does not answer, or nothing was asked for.
        """
        found = self._pacs().studies(patient=patient, date=date)
        listed = secrets.token_urlsafe(8)  # two tabs of a session each have their own list
        self.sessions.remember(token, f"archive {listed}", [each["StudyInstanceUID"] for each in found])
        shown = ("StudyDate", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")
        studies = [{name: each[name] for name in shown} for each in found]
        return {"list": listed, "studies": studies, "more": len(found) == Pacs.most}

    def fetched(self, token: str, listed: str, number: int) -> dict[str, Any]:
        """Open a study of a list.

        Raises:
            KeyError: there is no such list, or it has no such place.
            UserError: the archive does not answer, or nothing of the study can be shown.
        """
        uids = self.sessions.remembered(token, f"archive {listed}") or []
        if not isinstance(uids, list) or not 0 <= number < len(uids):
            raise KeyError(number)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            study = read_study(self._pacs().retrieve(uids[number], Path(folder)), presets=self.presets)
        return self._added(token, study, "archive")

    def _upload(self, most: int) -> Upload:
        if not self._uploads:
            raise UserError(_NO_UPLOADS)
        return Upload(self._folder, most)

    def _pacs(self) -> Pacs:
        if self._archive is None:
            raise UserError("No archive is named: start with --dicomweb URL.")
        return self._archive

    def _added(self, token: str, study: Study, how: str) -> dict[str, Any]:
        key = self.sessions.add(token, study)
        self._audit.add("opened", how=how, input=study.digest, series=len(study.series), refused=len(study.refused))
        return {"key": key, **study.document}

    def findings(self, token: str, study: str, series: int, model: int) -> dict[str, Any]:
        """Return every finding of a picture or volume; see `Reader.findings`."""
        return self._asked(token, study, series, model, "findings")

    def where(self, token: str, study: str, series: int, model: int, asked: str, method: str) -> dict[str, Any]:
        """Return a map; see `Reader.where`."""
        return self._asked(token, study, series, model, "where", asked, method or None)

    def slices(self, token: str, study: str, series: int, model: int) -> dict[str, Any]:
        """Return how much each slice of a volume counts; see `Reader.slices`."""
        return self._asked(token, study, series, model, "slices")

    def ask(self, token: str, study: str, series: int, model: int, sentence: str) -> dict[str, Any]:
        """Return a sentence against its denial; see `Reader.ask`."""
        return self._asked(token, study, series, model, "ask", _limited(sentence, 400))

    def question(self, token: str, study: str, series: int, model: int, question: str) -> dict[str, Any]:
        """Return the answer to a question; see `Reader.question`."""
        return self._asked(token, study, series, model, "question", _limited(question, 400))

    def check_report(self, token: str, study: str, series: int, model: int, text: str) -> dict[str, Any]:
        """Return a report sentence by sentence; see `Reader.check_report`."""
        return self._asked(token, study, series, model, "check_report", _limited(text, 8000))

    def similar(self, token: str, study: str, series: int, model: int, sentence: str, k: int) -> dict[str, Any]:
        """Return cases of the index that are like a picture, or like a sentence where one is given."""
        if sentence:
            answer = self._reader(model).similar(None, _limited(sentence, 400), k)
            self._audit.add("similar", model=str(self._described[model]["hash"]))
            return answer
        return self._asked(token, study, series, model, "similar", None, k)

    def export(
        self, token: str, study: str, series: int, model: int, kind: str, view: dict[str, Any], send: bool
    ) -> dict[str, Any]:
        """Return a file of what is shown, or send it to the archive.

        Args:
            token: of the session.
            study: its key.
            series: number.
            model: number; what it says is exported if it can look at the picture, which is the first of its series.
            kind: see `medvlp.serving.exports.kinds.KINDS`.
            view: ``{"frame", "window": [centre, width, function] | None, "mapped": finding | None}``.
            send: to the archive, instead of to the page.

        Raises:
            UserError: it cannot be exported so.
            KeyError: there is no such study or series.
        """
        whole, held = self.sessions.study(token, study), self.series(token, study, series)
        frames_of(held)
        found, mapped = None, None
        described: dict[str, Any] = {"name": "none", "hash": "", "preset": "", "synthetic": False}
        frame = view.get("frame", 0)
        if self.readers:
            self._reader(model)
            described = self._described[model]
        try:
            if self.readers and frame != 0:
                raise UserError(f"{_FIRST_ALONE}: go to it, or export PNG.")
            found = self.findings(token, study, series, model) if self.readers else None
        except UserError as error:  # of a picture that the model cannot look at, the picture alone
            if kind in ("sr", "seg", "fhir"):
                raise
            found = {"findings": [], "refused": {"sentence": f"{_FIRST_ALONE}." if frame else str(error)}}
        else:
            if found and (name := view.get("mapped")):
                mapped = str(name), self.where(token, study, series, model, str(name), "")
        shown = shown_of(held, frame=frame, window=view.get("window"), model=described, found=found, mapped=mapped)
        made = export(shown, kind)
        facts: dict[str, str | int] = {"kind": kind, "model": str(described["hash"])}
        facts |= {"input": whole.digest, "series": series}
        if send:
            stored = self._pacs().store([made.data])
            self._audit.add("sent", **facts)  # not before the archive has it
            return {"sent": stored}
        self._audit.add("exported", **facts)
        data = base64.b64encode(made.data).decode()
        return {"data": data, "filename": made.filename, "media_type": made.media_type}

    def _asked(self, token: str, study: str, series: int, model: int, what: str, *more: object) -> dict[str, Any]:
        reader = self._reader(model)
        prepared = self._cached(
            token, study, ("prepared", series, model), lambda: self._prepare(token, study, series, model)
        )
        asked: Callable[..., dict[str, Any]] = getattr(reader, what)
        answer = self._cached(token, study, (what, series, model, *more), lambda: asked(prepared, *more))
        digest = self.sessions.study(token, study).digest
        self._audit.add(what, model=str(self._described[model]["hash"]), input=digest, series=series)
        return answer

    def _cached(self, token: str, study: str, key: tuple[object, ...], make: Callable[[], Any]) -> Any:  # noqa: ANN401
        return self.sessions.cached(token, (study, *key), make)

    def _reader(self, model: int) -> Reader:
        if not 0 <= model < len(self.readers):
            raise UserError("No model is loaded: start with `medvlp demo BUNDLE`, or make one with medvlp quickstart.")
        return self.readers[model]

    def series(self, token: str, study: str, number: int) -> Series:
        """Return a series of this session's study; KeyError where there is none."""
        held = self.sessions.study(token, study).series
        if not 0 <= number < len(held):
            raise KeyError(number)
        return held[number]

    def _prepare(self, token: str, study: str, series: int, model: int) -> object:
        held = self.series(token, study, series)
        source = held.source(self._described[model]["preset"])
        kinds = set(self._described[model]["kinds"])
        if not isinstance(source, StoredVolume):
            if "image" not in kinds:
                raise UserError("This model looks at volumes or several pictures together, and this is one picture.")
            prepared = self.readers[model].prepare(source)
            # No preset but the display's, which is the frame's own, turns a picture to hang.
            return over_hung(prepared, frames_of(held)[0]) if source in held.images.values() else prepared
        if not kinds & {"volume", "stack"}:
            raise UserError("This model looks at pictures, and this is a volume: open a radiograph.")
        return self.readers[model].prepare(source.volume(held.meta))


def _limited(text: str, most: int) -> str:
    if not text.strip():
        raise UserError("Nothing was written: write a sentence, such as 'Left pleural effusion.', or a question.")
    if len(text) > most:
        raise UserError(f"The text has {len(text)} characters, more than {most}: send a part of it.")
    return text


MOST_BYTES = 1 << 26
"""Of a file that is looked at so."""
_PLANES = ("axial", "coronal", "sagittal")  # by the axis of a hung volume that has one voxel


def first_look(path: Path) -> dict[str, Any] | None:
    """Return what one slice says of itself: values, orientation, pixel spacing, windows, unit.

    What only its series knows (how many slices, their step, gaps, tilt, how it was made) is not told, and ``look``
    names the plane. None for whatever is no slice of a volume, or cannot be read alone: the upload says why.

    Args:
        path: one file.
    """
    try:
        volume = read_volume(path)
    except UnreadableImage:
        return None
    if volume.shape[0] != 1 or volume.geometry is None:
        return None
    stored = stored_volume(replace(volume, geometry=None))
    document = volume_document(replace(volume, voxels=np.empty(0, np.float32), geometry=None), stored)
    return {
        **document,
        "title": f"{volume.meta.get('Modality', '')} volume".strip(),
        "steps": (),
        "look": _PLANES[stored.values.shape.index(1)],
        "values": base64.b64encode(stored.values.astype("<i2", copy=False).tobytes()).decode(),
    }
