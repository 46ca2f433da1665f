"""study.yaml: what a run cannot know of the study it belongs to (funding, approval, readers), told by its authors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from medvlp.core.errors import ConfigError
from medvlp.core.suggest import did_you_mean
from medvlp.pages.checklist import fact_names

__all__ = ["EXTRA", "read_study"]

# Facts that no checklist asks for and that model cards need.
EXTRA = ("name", "link", "licence", "authors", "contact", "version")


def read_study(path: Path) -> Mapping[str, str]:
    """Return the facts of a study file: name of a fact -> one or more sentences.

    Raises:
        ConfigError: if it is no YAML mapping of texts, or names a fact that no checklist asks for.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"The study file {path} cannot be read as YAML ({error}): give lines of `fact: text`."
        ) from error
    if not isinstance(tree, Mapping):
        raise ConfigError(f"The study file {path} is not a mapping: give lines of `fact: text`.")
    known = (*EXTRA, *fact_names())
    for name, value in tree.items():
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ConfigError(f"The study file {path} names the fact {name!r}, which nothing asks for: {hint}.")
        if not isinstance(value, str | int | float) or isinstance(value, bool) or not str(value).strip():
            raise ConfigError(f"The fact {name!r} of the study file {path} is not a text: write one sentence or more.")
    return {str(name): " ".join(str(value).split()) for name, value in tree.items()}
