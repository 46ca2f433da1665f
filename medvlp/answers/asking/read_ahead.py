"""Pictures that a model is asked about, read by several processes while it looks at those before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from multiprocessing import parent_process

from medvlp.answers.asking.model import Prepared, VisionLanguageModel
from medvlp.core.errors import DataError
from medvlp.data.parallel import run_chunks
from medvlp.data.picture_files import PictureFile
from medvlp.data.worker_tensors import send_small_tensors

_MANY = 32  # pictures from which on processes are worth their start


def read_ahead(
    model: VisionLanguageModel, rows: Sequence[PictureFile], *, workers: int
) -> Iterator[Prepared | DataError]:
    """Yield each file as the model is shown it, or why it cannot be read.

    Args:
        model: a loaded bundle of one kind of pictures.
        rows: what is read. Volumes, which are large, and few pictures are read by this process.
        workers: processes that read; 0: this one.
    """
    if len(rows) < _MANY or model.model.vision_kind != "image":
        return (_prepared(model, row) for row in rows)
    return run_chunks(_prepared, model, rows, workers=workers)


def _prepared(model: VisionLanguageModel, row: PictureFile) -> Prepared | DataError:
    if parent_process() is not None:
        send_small_tensors()
    try:
        return model.prepare(row.source, name=row.name)
    except DataError as error:
        return error
