"""A bundle claims the findings that its training texts name, and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from medvlp.answers.zero_shot import ZeroShot
from medvlp.config.tree import check_config
from medvlp.models.bundle import load_bundle
from medvlp.runs.train import train
from medvlp.text.prompts import PromptSet, named_in
from tests.messages import messages
from tests.tiny import tiny_tree

SETS = [
    PromptSet("p", "effusion", ("There is a pleural effusion.", "pleural effusion"), ("clear",)),
    PromptSet("p", "endotracheal_tube", ("endotracheal tube", "ET tube"), ("no tube",)),
]


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (["No PLEURAL effusion."], {"effusion"}),
        (["An effusion."], {"effusion"}),  # the label's own word
        (["A tube.", "Endotracheal."], set()),  # the words never stand in one text
        (["The endotracheal tube lies well, small left pleural effusion."], {"effusion", "endotracheal_tube"}),
        (["tubes"], set()),
        ([], set()),
    ],
)
def test_a_finding_is_named_by_a_text_with_all_words_of_it_or_of_a_prompt(texts: list[str], named: set[str]) -> None:
    assert named_in(SETS, texts) == named
    assert named_in(SETS, texts, known=("endotracheal_tube",)) == named | {"endotracheal_tube"}


def test_texts_are_read_only_until_every_finding_is_named() -> None:
    def texts():
        yield "Pleural effusion and an endotracheal tube."
        raise AssertionError("one more was read")
        yield ""

    assert len(named_in(SETS, texts())) == 2


def test_an_answer_keeps_the_prompts_and_score_of_what_is_named() -> None:
    answer = ZeroShot(prompts=[{"name": "v", "label": name, "positive": [name], "negative": ["no"]} for name in "ab"])
    taught = answer.taught_by(["b"])
    assert (taught.labels, taught.score) == (("b",), answer.score)
    assert taught.prompts == answer.prompts[1:]


@pytest.mark.slow
def test_a_released_bundle_claims_what_its_texts_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = ["file,patient,split,report"]
    for at in range(24):
        pixels = np.random.default_rng(at).integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(data / f"{at}.png")
        rows.append(f"{at}.png,p{at},{'train' if at < 16 else 'validate'},{('Pleural effusion.', 'No edema.')[at % 2]}")
    (data / "table.csv").write_text("\n".join(rows) + "\n")
    tree = tiny_tree(tmp_path / "run", data, tmp_path / "cache")
    columns = {"image": "file", "id.patient": "patient", "split": "split", "text": "report"}
    tree["data"] |= {"layout": None, "where": {}, "table": "table.csv", "columns": columns, "near_images": False}
    tree["data"] |= {"split": {"name": "own"}}
    tree["phases"] = [{"until": 16, "objectives": [{"name": "clip"}]}]
    with messages() as said:
        done = train(check_config(yaml.safe_load(yaml.safe_dump(tree)), source="test"))
    bundle = load_bundle(done.bundle)
    assert bundle.labels == ("effusion", "edema")
    (told,) = [each for each in said if each.startswith("Not asked for by zero_shot, because no training text names")]
    assert "endotracheal tube" in told
    assert "effusion" not in told
    assert "endotracheal tube" not in bundle.card
    assert "pneumothorax" not in bundle.card
