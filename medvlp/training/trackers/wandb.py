"""Weights & Biases: rows in a folder that ``wandb sync`` sends, or to the service at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medvlp.core.errors import UserError
from medvlp.core.installed import needs


class Wandb:
    """Writes to ``wandb/`` in the run's folder; each start of a run makes a folder there, all of one run id.

    Its own collecting is off: environment, packages, code, git, console, machine, system metrics, names of the host and
    the user, reports of its own errors. What it always adds is the versions of Python and of itself, and the kind of
    operating system.

    Args:
        project: of the service.
        title: name of the run there; by default one that says nothing.
        offline: False sends rows as they come, to ``WANDB_BASE_URL`` or wandb.ai; ``wandb login`` comes first.

    Raises:
        UserError: if the package is not installed, or knows no key where one is needed.

    Example:
        >>> from medvlp.core.registry import fill
        >>> fill("training/trackers", {"name": "wandb", "project": "chest"}, where="training.track[0]")
        {'name': 'wandb', 'project': 'chest', 'title': '', 'offline': True}
    """

    def __init__(self, *, project: str = "medvlp", title: str = "", offline: bool = True) -> None:
        needs("track", "wandb")
        self.project, self.title, self.offline = project, title, offline

    def start(self, *, folder: Path, name: str, configuration: Mapping[str, object], resume: str | None) -> str:
        """Begin a run, or go on with it; see `Tracker`."""
        import wandb

        if not self.offline and not wandb.login(prompt=False):
            raise UserError("wandb has no key on this machine: run `wandb login` once, or set WANDB_API_KEY.")
        settings = wandb.Settings(
            console="off", save_code=False, disable_code=True, disable_git=True, disable_job_creation=True,
            label_disable=True, x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True,
            x_save_requirements=False, host="", username="", email="", silent=True, finish_timeout=60,
        )  # fmt: skip
        self._run = wandb.init(
            project=self.project,
            id=resume or name,
            name=self.title or name,
            dir=folder,
            config=dict(configuration),
            mode="offline" if self.offline else "online",
            resume=None if self.offline else "allow",
            reinit="create_new",  # a run that somebody else began in this process stays as it is
            settings=settings,
        )
        return self._run.id

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Send numbers, with samples seen as their step."""
        self._run.log(dict(values), step=samples)

    def close(self) -> None:
        """End the run for now."""
        self._run.finish()
