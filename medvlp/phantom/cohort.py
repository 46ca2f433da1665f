"""A whole synthetic hospital on disk: drawn, rendered, reported, filed; resumable, the same bytes however it is made.

Order makes it safe: the pictures of a study first, then its rows, after the last study the tables, ``cohort.json``
last. Whatever interrupts it, the same command goes on where it stopped.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from threadpoolctl import threadpool_limits

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.files import remove_left, write_bytes
from medvlp.core.memory import keep_freed_memory
from medvlp.core.processes import end_with_parent, exclusive, leave_signals_to_parent
from medvlp.phantom.facts import Study
from medvlp.phantom.sampling import age_at, sample_cohort
from medvlp.phantom.truth import write_tables
from medvlp.phantom.write_study import StudyJob, write_study

SCHEMA: Final = "medvlp.phantom/1"
NOTE: Final = (
    "Synthetic pictures and reports of people who do not exist: for tests, tutorials and CI. "
    "They prove the machinery and say nothing about clinical performance."
)
# What decides bytes besides our own code.
_PACKAGES: Final = (
    "numpy", "scipy", "pydicom", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "nibabel", "pyarrow",
)  # fmt: skip
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Modality = Literal["cxr", "ct"]


@dataclass(frozen=True, slots=True)
class CohortSummary:
    """What a cohort on disk holds.

    Attributes:
        root: its folder.
        modality: ``"cxr"`` or ``"ct"``.
        seed: it was drawn from.
        image_size: height of a radiograph in pixels.
        patients: people.
        studies: visits.
        images: files of pictures or volumes.
        made: studies rendered by this call, 0 where the cohort was complete.
    """

    root: Path
    modality: Modality
    seed: int
    image_size: int
    patients: int
    studies: int
    images: int
    made: int


def make_cohort(
    out: Path,
    *,
    patients: int,
    modality: Modality = "cxr",
    seed: int = 0,
    image_size: int = 256,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> CohortSummary:
    """Write a cohort into a folder, or go on with one that was interrupted, or return at once where it is complete.

    ::

        out/dicom/<PatientID>/<AccessionNumber>/<VIEW>.dcm       radiographs (modality "cxr")
        out/ct/<PatientID>/<AccessionNumber>.nii.gz              volumes (modality "ct")
        out/reports.csv                                          AccessionNumber, StudyInstanceUID, ..., Report
        out/truth/*.parquet                                      see `phantom/truth.py`
        out/truth/ct_masks/<PatientID>/<AccessionNumber>.nii.gz  label = index of the finding + 1
        out/cohort.json                                          recipe and counts; there only when all else is

    Args:
        out: folder; new, empty, or holding a cohort of the same recipe.
        patients: how many people, at least 1 (from 6 on, each split has somebody).
        modality: radiographs or CT.
        seed: of everything.
        image_size: height of the radiographs in pixels, at least 32; volumes are (3/16, 1/2, 1/2) of it, 48 x 128 x 128
            voxels at 256.
        workers: processes; the bytes do not depend on it. More than one needs the caller's script to be importable
            (``if __name__ == "__main__":``), as with every spawned process.
        progress: called with (studies done, studies in all).

    Raises:
        ConfigError: if a number is not allowed.
        DataError: if the folder holds another cohort or other things.
        UserError: if the disk is full.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     made = make_cohort(Path(folder) / "hospital", patients=1, image_size=64, workers=1)
        ...     again = make_cohort(Path(folder) / "hospital", patients=1, image_size=64, workers=1)
        >>> made.studies > 0, again.made
        (True, 0)
    """
    if image_size < 32 or workers < 1:
        name, value, least = ("image_size", image_size, 32) if image_size < 32 else ("workers", workers, 1)
        raise ConfigError(f"{name}={value} is too small for a phantom cohort: use at least {least}.")
    recipe = _recipe(patients=patients, modality=modality, seed=seed, image_size=image_size)
    out = Path(out)
    rows = out / "truth" / ".rows"
    finished = _finished(out, recipe)
    if finished is None:
        studies = sample_cohort(patients=patients, seed=seed, modality=modality)
        with exclusive(rows, what="command", otherwise="choose another folder"):
            finished = _finished(out, recipe) or _make(out, recipe, studies, workers=workers, progress=progress)
    shutil.rmtree(rows, ignore_errors=True)  # also of a run that was killed when all else was there
    return finished


def _make(
    out: Path,
    recipe: dict[str, Any],
    studies: Sequence[Study],
    *,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> CohortSummary:
    modality, seed, image_size = recipe["modality"], recipe["seed"], recipe["image_size"]
    rows = out / "truth" / ".rows"
    remove_left(out)
    if not (rows / "recipe.json").exists():
        write_bytes(rows / "recipe.json", _json(recipe))
    first = {study.patient.id: study.date for study in reversed(studies)}
    jobs = [
        StudyJob(out, study, age_at(study, first[study.patient.id]), seed, image_size, modality) for study in studies
    ]
    todo = [job for job in jobs if not _rows_file(rows, job).exists()]
    _render(todo, rows, workers=workers, done=len(jobs) - len(todo), total=len(jobs), progress=progress)
    documents = [json.loads(_rows_file(rows, job).read_text("utf-8")) for job in jobs]
    write_tables(out, documents)
    images = sum(len(document["images"]) for document in documents)
    facts = recipe | {"synthetic": True, "note": NOTE, "studies": len(studies), "images": images}
    write_bytes(out / "cohort.json", _json(facts))
    return CohortSummary(out, modality, seed, image_size, recipe["patients"], len(studies), images, len(todo))


def _recipe(**choices: int | str) -> dict[str, Any]:
    """What the bytes are a function of."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"schema": SCHEMA, **choices, "versions": versions, "code": _code_hash()}


@functools.cache
def _code_hash() -> str:
    """SHA-256 of the sources of this package, as they were when this process first asked."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted(path for path in here.rglob("*") if path.suffix in (".py", ".yaml")):
        digest.update(path.relative_to(here).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _finished(out: Path, recipe: dict[str, Any]) -> CohortSummary | None:
    """Return the complete cohort that is there, or None where one can be made or resumed.

    Other package versions are accepted for a complete cohort (it is what it says it is) and refused for half a one,
    whose second half would not match the first.
    """
    for path in (out / "cohort.json", out / "truth" / ".rows" / "recipe.json"):
        if not path.exists():
            continue
        try:
            found = dict(json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError, OSError) as error:
            raise DataError(
                f"{path} cannot be read as a phantom cohort's recipe ({error}): choose another folder."
            ) from None
        complete = path.name == "cohort.json"
        wrong = [key for key in recipe if found.get(key) != recipe[key] and not (complete and key == "versions")]
        if wrong:
            differences = ", ".join(f"{key} {_short(found.get(key))} instead of {_short(recipe[key])}" for key in wrong)
            raise DataError(
                f"The folder {out} holds {'a' if complete else 'an unfinished'} phantom cohort of another recipe "
                f"({differences}): choose another folder, delete this one, or ask for the same cohort."
            )
        if complete:
            counts = (int(found[key]) for key in ("seed", "image_size", "patients", "studies", "images"))
            return CohortSummary(out, found["modality"], *counts, made=0)
        return None
    begun = out / "truth" / ".rows"  # and nothing else: killed before its recipe was written
    if out.exists() and (not out.is_dir() or any(each.is_file() and each.parent != begun for each in out.rglob("*"))):
        raise DataError(f"{out} is not empty and holds no phantom cohort: choose a new or empty folder.")
    return None


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 24 else f"{text[:12]}..."


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _rows_file(rows: Path, job: StudyJob) -> Path:
    return rows / f"{job.study.id}.json"


def _render(
    todo: list[StudyJob],
    rows: Path,
    *,
    workers: int,
    done: int,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Make the missing studies, here or in worker processes."""
    tell = progress or (lambda _done, _total: None)
    tell(done, total)
    if workers == 1 or len(todo) < 2:
        for job in todo:
            done += _made([job], rows)
            tell(done, total)
        return
    # Spawned, not forked: a fork would inherit the locks of whatever threads torch or BLAS run in the caller.
    context = multiprocessing.get_context("spawn")
    with (
        _single_threaded(),
        concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool,
    ):
        # All studies of a patient in one process, where they share their bones.
        visits = itertools.groupby(todo, key=lambda job: job.study.patient.id)
        futures = [pool.submit(_made, list(jobs), rows) for _, jobs in visits]
        try:
            for future in concurrent.futures.as_completed(futures):
                done += future.result()
                tell(done, total)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _begin() -> None:
    leave_signals_to_parent()
    end_with_parent()


def _made(jobs: list[StudyJob], rows: Path) -> int:
    """Render studies and return how many; the rows of one are written last and mean that it is complete."""
    keep_freed_memory()  # a sixth of the time: every temporary volume would be fresh memory
    for job in jobs:
        # The number of threads of BLAS can change the last bit of a sum, hence a pixel.
        with threadpool_limits(1):
            document = write_study(job)
        write_bytes(_rows_file(rows, job), json.dumps(document, sort_keys=True).encode())
    return len(jobs)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Let spawned processes start with one numerical thread each: set in the parent, as they read it at import."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
