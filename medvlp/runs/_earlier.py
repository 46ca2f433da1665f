"""What an earlier evaluation left in a folder that another one now goes to."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.evaluation.run_files import GALLERY
from medvlp.pages.record import Record


def forget_earlier(out: Path, *, results: Collection[str], cases: Collection[str], gallery: bool) -> None:
    """Remove the results of an earlier evaluation that this one did not write again.

    They may be of other data or another model, and the page, which shows all results of its folder, would show them as
    if they were of this one. What ``evaluation.json`` does not list was put there by somebody else and stays.

    Args:
        out: of both.
        results: that this one wrote.
        cases: stems of per-case tables that it wrote beside those of its results.
        gallery: whether it wrote pictures.
    """
    earlier: tuple[str, ...] = ()
    with suppress(DataError, OSError):  # there was none, or nobody knows what it wrote
        earlier = Record.read(out / "evaluation.json").results
    if not earlier:
        return
    folder = out / "results"
    for name in {*earlier, "predictions"} - {*results, *cases}:
        if Path(name).name == name:
            (folder / f"{name}.json").unlink(missing_ok=True)
            (folder / f"{name}.parquet").unlink(missing_ok=True)
    if not gallery:
        (folder / f"{GALLERY}.json").unlink(missing_ok=True)
        shutil.rmtree(folder / GALLERY, ignore_errors=True)
