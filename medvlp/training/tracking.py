"""A run's rows at the services that the user names, beside the log and TensorBoard, which are always written.

The first process tracks. A service follows the log, and `TRACKING` in the run's folder notes by what it knows the run
and how far it got. So a run that goes on writes no row twice there, though it computes again what came after its
checkpoint; a service named later, or back after a failure, first gets what it lacks. A row that a kill took with it on
its way is not sent again.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medvlp.core.errors import UserError
from medvlp.core.files import make_folder, read_json, write_json
from medvlp.core.registry import build, fill
from medvlp.training.trackers import Tracker

TRACKING = "tracking.json"
# The recipe goes along: not where things lie, whose they are, or how the model is evaluated.
_LEFT_OUT = ("run", "data", "init_from", "answers", "evaluation", "gate")
_OF_DATA = ("prefix", "suffix", "replays")
logger = logging.getLogger(__name__)


@dataclass
class _Service:
    """What the run's folder notes of one: `rows` is the last that it got of each kind, and more while it is `open`."""

    spec: dict[str, Any]
    id: str
    rows: dict[str, int]
    open: bool


class Tracking:
    """The services of a run.

    Args:
        specs: components of `medvlp.training.trackers`.
        configuration: the full tree of the run.

    Raises:
        UserError: if a package is not installed.
    """

    def __init__(self, specs: Sequence[Mapping[str, object]], configuration: Mapping[str, object]) -> None:
        self._configuration = sendable(configuration)
        self._specs = [fill("training/trackers", each, where=f"training.track[{i}]") for i, each in enumerate(specs)]
        self._trackers: list[Tracker] = [build("training/trackers", each, where="training.track") for each in specs]
        self._noted: list[_Service] = []
        self._running: list[tuple[Tracker, _Service]] = []

    def start(self, run: Path, logged: Sequence[Mapping[str, object]], *, samples_seen: int) -> None:
        """Begin everywhere, or go on, and send what is missing.

        Args:
            run: folder.
            logged: rows of the log when the run ended, in order.
            samples_seen: of the checkpoint that is resumed: later rows will be computed again.

        Raises:
            UserError: if a service cannot be started.
        """
        make_folder(run)
        self._path = run / TRACKING
        found: Any = read_json(self._path)["services"] if self._path.is_file() else []
        self._noted = [_Service(**each) for each in found]
        for service in self._noted:
            for row in logged if service.open else ():
                kind, samples = _place(row)
                service.rows[kind] = max(samples, service.rows.get(kind, 0))
            service.open = False
        if self._noted:  # also where none is named any more: it lacks what comes now
            self._note()
        for spec, tracker in zip(self._specs, self._trackers, strict=True):
            service = next((each for each in self._noted if each.spec == spec), None)
            given = {"folder": run, "name": secrets.token_hex(4), "configuration": self._configuration}
            try:
                identity = tracker.start(**given, resume=None if service is None else service.id)
            except UserError:
                raise
            except Exception as error:
                why = f"{type(error).__name__}: {error}".partition("\n")[0]
                raise UserError(
                    f"{spec['name']} cannot be started ({why}): mend that, or take it out of training.track."
                ) from error
            if service is None:
                service = _Service(spec, identity, {}, open=True)
                self._noted.append(service)
            service.open = True
            self._running.append((tracker, service))
            self._note()
        for row in logged:
            kind, samples = _place(row)
            if samples <= samples_seen:
                self.write(kind, samples, {name: value for name, value in row.items() if name not in _OF_A_ROW})

    def write(self, kind: str, samples: int, values: Mapping[str, object]) -> None:
        """Send the finite numbers of a row to every service that lacks it; one that fails is left, with a warning."""
        numbers = {
            f"{kind}/{name}": float(value)
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        for tracker, service in list(self._running) if numbers else ():
            if samples > service.rows.get(kind, -1):
                try:
                    tracker.write(samples, numbers)
                    service.rows[kind] = samples
                except Exception as error:
                    service.open = False
                    self._running.remove((tracker, service))
                    self._note()
                    logger.warning(
                        f"{service.spec['name']} failed ({type(error).__name__}) after {samples} samples and gets no "
                        "more of this run until it is resumed; log.jsonl and TensorBoard go on."
                    )

    def close(self) -> None:
        """End the run everywhere, for now."""
        for tracker, service in self._running:
            try:
                tracker.close()
            except Exception as error:
                logger.warning(
                    f"{service.spec['name']} failed at its end ({type(error).__name__}); rows may lack there."
                )
        self._running = []

    def _note(self) -> None:
        write_json(self._path, {"services": [asdict(each) for each in self._noted]})


_OF_A_ROW = ("kind", "samples_seen", "seconds")


def _place(row: Mapping[str, object]) -> tuple[str, int]:
    return str(row.get("kind", "")), int(str(row.get("samples_seen", 0)))


def sendable(tree: Mapping[str, object]) -> dict[str, Any]:
    """Return the part of a configuration that may leave: the recipe, without what may name a hospital or a patient.

    Of `data` only the views stay, no selection (`where`) does, and no text, key or value, that has a slash or is the
    name of a file or folder here: those are paths and addresses.

    Example:
        >>> sendable({"run": "runs/x", "seed": 1, "data": {"root": "/st_mary", "replays": 2}})
        {'seed': 1, 'data': {'replays': 2}}
    """
    data, training = tree.get("data"), tree.get("training")
    recipe = {key: value for key, value in tree.items() if key not in _LEFT_OUT}
    if isinstance(training, Mapping):
        recipe["training"] = {key: value for key, value in training.items() if key != "track"}
    if isinstance(data, Mapping):
        recipe["data"] = {key: data[key] for key in _OF_DATA if key in data}
    return _without_places(recipe)


def _without_places(node: Any) -> Any:  # noqa: ANN401
    if isinstance(node, Mapping):
        return {k: _without_places(v) for k, v in node.items() if k != "where" and not (_is_place(k) or _is_place(v))}
    return [_without_places(each) for each in node if not _is_place(each)] if isinstance(node, list) else node


def _is_place(value: object) -> bool:
    # No name of a file is longer, and asking for one raises.
    return isinstance(value, str) and ("/" in value or "\\" in value or (0 < len(value) < 256 and Path(value).exists()))
