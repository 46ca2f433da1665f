from __future__ import annotations

from pathlib import Path

import numpy as np

from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from medvlp.runs.case_index import make_case_index


def test_an_index_is_of_the_model_that_made_its_table_and_needs_no_model(tmp_path: Path) -> None:
    columns = {"id": ["a", "b"], "image": ["a.png", "b.png"], "label.effusion": [1, 0]}
    Manifest.of(columns, root=tmp_path).save(tmp_path / "cohort.parquet")
    features = np.eye(2, dtype=np.float32)
    table = FeatureTable(["a", "b"], {"image/embedding": features}, {"model": "0123456789abcdef"})
    cases = make_case_index(tmp_path / "cohort.parquet", table, root=tmp_path)
    assert cases.meta["model"] == "0123456789abcdef"
    assert list(cases.table["findings"]) == ["effusion", ""]
