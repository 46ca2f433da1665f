"""An option of a configuration that another one makes idle is refused, not passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medvlp.config.tree import DataConfig, check_config
from medvlp.core.errors import ConfigError
from medvlp.runs.data import open_manifest
from tests.tiny import tiny_tree


@pytest.mark.parametrize(
    ("part", "options", "sentence"),
    [
        ("data", {"columns": {"image": "file"}}, "data: columns is short for the layout csv, and there is a layout"),
        ("data", {"table": "t.csv"}, "data: table goes with columns, which say what is in it"),
        ("data", {"group": {"keep": "stack", "prefer": ["B30f"]}}, "choose one of several rows, and keep is stack"),
        ("data", {"group": {"keep": "pair", "column": "reconstruction"}}, "prefer and column choose one of several"),
        ("data", {"group": {"keep": "prior", "by": "id.site"}}, "an earlier picture is one of the same patient"),
        ("data", {"subset": {"share": 0.1, "labels": ["effusion"]}}, "labels are the classes of per_class"),
        ("tokenizer", {"path": "words"}, "path is read by name: transformers, and the name is clinical_wordpiece"),
    ],
)
def test_what_nothing_would_read_is_refused(part: str, options: dict[str, Any], sentence: str) -> None:
    tree = tiny_tree(Path("run"), Path("hospital"), Path("cache"))
    check_config(tree, source="")
    with pytest.raises(ConfigError, match=sentence):
        check_config({**tree, part: {**tree[part], **options}}, source="")


def test_a_part_for_all_records_leaves_nothing_to_split(tmp_path: Path) -> None:
    data = DataConfig(root=str(tmp_path), layout={"name": "image_folder"}, part="test", split={"name": "patient"})
    with pytest.raises(ConfigError, match=r"data\.part says in which part all records stand: leave data\.split out"):
        open_manifest(data)
