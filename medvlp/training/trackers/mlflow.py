"""MLflow: rows in files of the run's folder, or wherever a tracking URI points."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from medvlp.core.installed import needs

_MOST = 100  # parameters of one request, by its REST interface; of metrics it takes more


class MLflow:
    """Writes to ``mlflow/`` in the run's folder by its plain client, which adds no tags of user, source or git.

    Its own reports of usage are off. ``MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri RUN/mlflow`` shows
    the files.

    Args:
        project: experiment of the service.
        title: name of the run there; by default one that says nothing.
        uri: a server (``https://...``), a database (``sqlite:///...``, with the whole ``mlflow``), or null.

    Raises:
        UserError: if the package is not installed.

    Example:
        >>> from medvlp.core.registry import fill
        >>> fill("training/trackers", {"name": "mlflow", "uri": "http://localhost:5000"}, where="training.track[0]")
        {'name': 'mlflow', 'project': 'medvlp', 'title': '', 'uri': 'http://localhost:5000'}
    """

    def __init__(self, *, project: str = "medvlp", title: str = "", uri: str | None = None) -> None:
        needs("track", "mlflow")
        self.project, self.title, self.uri = project, title, uri

    def start(self, *, folder: Path, name: str, configuration: Mapping[str, object], resume: str | None) -> str:
        """Begin a run, or go on with it; see `Tracker`."""
        # A server that does not answer would hold every process up: it gets half a minute, not an hour.
        waits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
        for key, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true", **waits}.items():
            os.environ.setdefault(key, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = client = MlflowClient(tracking_uri=self.uri or (folder / "mlflow").absolute().as_uri())
        if resume is not None:
            client.update_run(resume, status="RUNNING")
            self._id = resume
            return resume
        experiment = client.get_experiment_by_name(self.project)
        place = client.create_experiment(self.project) if experiment is None else experiment.experiment_id
        self._id = client.create_run(place, run_name=self.title or name).info.run_id
        params = [Param(_allowed(key), str(value)) for key, value in _flat(configuration)]
        for begin in range(0, len(params), _MOST):
            client.log_batch(self._id, params=params[begin : begin + _MOST])
        return self._id

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Send numbers, with samples seen as their step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[Metric(_allowed(n), v, now, samples) for n, v in values.items()])

    def close(self) -> None:
        """End the run for now."""
        self._client.set_terminated(self._id)


def _allowed(name: str) -> str:
    """What MLflow takes as a name: ``recall@5`` is recall_5."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _flat(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value with the keys and places that lead to it: ``phases.0.until``."""
    if isinstance(node, Mapping | list):
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node
