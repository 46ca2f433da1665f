"""Trackio: rows in its folder on this machine, a Space of Hugging Face, or a server of one's own."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from medvlp.core.errors import UserError
from medvlp.core.installed import needs


class Trackio:
    """Writes to Trackio's folder (``TRACKIO_DIR``, else in the cache of Hugging Face), which ``trackio show`` shows.

    Its own collecting is off: metrics of processor and GPU, the user's name. Without a URI nothing asks the network.

    Args:
        project: of Trackio.
        title: name of the run there, before one that says nothing; Trackio tells runs apart by their names.
        uri: a Space (``owner/name``, made private if it is not there) or a server (``https://...``, its token in
            ``TRACKIO_WRITE_TOKEN``), or null.

    Raises:
        UserError: if the package is not installed.

    Example:
        >>> from medvlp.core.registry import fill
        >>> fill("training/trackers", {"name": "trackio", "title": "wide"}, where="training.track[0]")
        {'name': 'trackio', 'project': 'medvlp', 'title': 'wide', 'uri': None}
    """

    def __init__(self, *, project: str = "medvlp", title: str = "", uri: str | None = None) -> None:
        needs("track", "trackio")
        self.project, self.title, self.uri = project, title, uri
        named = [key for key in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL") if os.environ.get(key)]
        if uri is None and named:
            raise UserError(
                f"{named[0]} would send this run away, and training.track does not ask for that: give trackio that "
                "address as its uri, or unset the variable."
            )

    def start(self, *, folder: Path, name: str, configuration: Mapping[str, object], resume: str | None) -> str:
        """Begin a run, or go on with it; see `Tracker`."""
        import trackio

        server = self.uri is not None and self.uri.startswith(("http://", "https://"))
        identity = resume or (f"{self.title}-{name}" if self.title else name)
        with redirect_stdout(io.StringIO()), _without_hub(self.uri is None):
            self._run = trackio.init(
                project=self.project,
                name=identity,
                resume="allow",
                config=dict(configuration),
                server_url=self.uri if server else None,
                space_id=None if server else self.uri,
                private=True,
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        self._run.config["_Username"] = None  # of the token that lies on this machine; sent with the first row
        return identity

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Send numbers, with samples seen as their step."""
        self._run.log(dict(values), step=samples)

    def close(self) -> None:
        """End the run for now."""
        import trackio

        with redirect_stdout(io.StringIO()):
            trackio.finish()


@contextmanager
def _without_hub(off: bool) -> Iterator[None]:
    """Keep Trackio from asking Hugging Face whose token lies on this machine."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = off or before
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
