from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.config.tree import RunConfig, load_config
from medvlp.core.errors import DataError
from medvlp.phantom.cohort import CohortSummary
from medvlp.runs.build import build_banks, open_tokenizer
from medvlp.runs.train import train

SMALL = [
    "data.prefix.0.size=32",
    "data.suffix=[]",
    "model.vision.image_size=32",
    "model.vision.options={layers: [1, 1, 1, 1], channels: [16, 16, 16, 16], stem_width: 16}",
    "model.text.width=32",
    "model.text.layers=1",
    "tokenizer.vocab_size=256",
    "training.batch=8",
    "phases=[{until: 8, objectives: [{name: clip}]}]",
]


def _config(file: str, *words: str) -> RunConfig:
    return load_config("pretrain/phantom_clip.yaml", [f"banks.words.file={file}", *words])


def test_a_bank_is_looked_for_from_the_working_folder_first_then_in_configs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = build_banks(_config("banks/cxr_phrases.txt"))["words"]
    assert "no pleural effusion" in shipped.texts
    assert not any(text.startswith("#") for text in shipped.texts)
    (tmp_path / "banks").mkdir()
    (tmp_path / "banks" / "cxr_phrases.txt").write_text("# mine\none\n\ntwo\n")
    monkeypatch.chdir(tmp_path)
    assert build_banks(_config("banks/cxr_phrases.txt"))["words"].texts == ("one", "two")


def test_a_bank_that_is_nowhere_is_one_sentence_with_the_nearest_name() -> None:
    with pytest.raises(
        DataError, match=r"banks\.words\.file 'banks/cxr_phrase\.txt' is neither a file nor in configs/"
    ):
        build_banks(_config("banks/cxr_phrase.txt"))
    with pytest.raises(DataError, match=r"did you mean 'banks/cxr_phrases\.txt'"):
        build_banks(_config("banks/cxr_phrase.txt"))


def test_a_run_that_starts_from_a_bundle_speaks_with_the_bundles_words(
    tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    data = [f"data.root={tiny_cohort.root}", f"data.cache={tmp_path / 'cache'}"]
    first = train(load_config("pretrain/phantom_clip.yaml", [*data, *SMALL, f"run={tmp_path / 'a'}"]))
    again = [*data, *SMALL, f"run={tmp_path / 'b'}", f"init_from={first.bundle}", "banks={}"]
    # Another part of the data has other words: a tokenizer trained on it would give other numbers.
    second = train(
        load_config("pretrain/phantom_distill.yaml", [*again, "data.where={view_position: [PA]}", "states={}"])
    )
    tokenizers = [(run / "tokenizer" / "tokenizer.json").read_bytes() for run in (first.run, second.run)]
    assert tokenizers[0] == tokenizers[1]
    kept = open_tokenizer(load_config(second.run / "config.yaml"), second.run, None)  # type: ignore[arg-type]
    assert kept is not None
    assert kept.vocab_size <= 256
