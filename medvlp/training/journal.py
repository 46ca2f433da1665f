"""What a run writes down while it goes: JSONL always, TensorBoard beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from medvlp.core.files import refuse_write, written_whole

__all__ = ["Journal", "read_journal"]


class Journal:
    """Appends rows to ``log.jsonl`` and scalars to ``tensorboard/``.

    Args:
        run: the run's folder.
        samples_seen: of the checkpoint that is resumed; later rows of the interrupted run are taken out, since they
            will be written again.
        active: False on all processes but the first.
    """

    def __init__(self, run: Path, *, samples_seen: int, active: bool = True) -> None:
        self._path = run / "log.jsonl"
        self._active = active
        self._started = time.time()
        self._board = None
        if not active:
            return
        run.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            rows = [row for row in read_journal(self._path) if int(str(row.get("samples_seen", 0))) <= samples_seen]
            with written_whole(self._path) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=samples_seen)

    def write(self, kind: str, samples: int, values: Mapping[str, object]) -> None:
        """Append one row; floats also go to TensorBoard under ``kind/name``."""
        if not self._active or self._board is None:
            return
        row = {"kind": kind, "samples_seen": samples, "seconds": round(time.time() - self._started, 3), **values}
        try:
            with open(self._path, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")
        except OSError as error:
            refuse_write(error, self._path)
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._board.add_scalar(f"{kind}/{name}", value, samples)

    def close(self) -> None:
        """Flush TensorBoard."""
        if self._board is not None:
            self._board.close()


def read_journal(path: Path) -> list[dict[str, object]]:
    """Return the rows; a last line that was cut by a kill is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
