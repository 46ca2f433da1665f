"""What an earlier evaluation left in a folder that another one now goes to."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.evaluation.run_files import GALLERY
from medvlp.pages.record import Record


def forget_earlier(out: Path) -> None:
    """Remove the results that an earlier evaluation wrote into a folder, and at last its record, which names them.

    They may be of other data or another model, and the page shows all results of its folder. It is done before new
    ones are written, so that no page shows results of two evaluations, whenever the second one is killed. What
    ``evaluation.json`` does not list was put there by somebody else and stays.
    """
    earlier: tuple[str, ...] = ()
    with suppress(DataError, OSError):  # there was none, or nobody knows what it wrote
        earlier = Record.read(out / "evaluation.json").results
    if not earlier:
        return
    folder = out / "results"
    for name in {*earlier, "predictions"}:
        if Path(name).name == name:
            (folder / f"{name}.json").unlink(missing_ok=True)
            (folder / f"{name}.parquet").unlink(missing_ok=True)
    (folder / f"{GALLERY}.json").unlink(missing_ok=True)
    shutil.rmtree(folder / GALLERY, ignore_errors=True)
    (out / "evaluation.json").unlink()
