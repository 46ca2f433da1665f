"""An evaluation tells what the bundle's gate would hold back, and the scores with and without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import load
from medvlp.cli.main import app
from medvlp.features.fit_gate import fit_gate
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, save_bundle
from medvlp.runs.evaluate import EvaluationRun, evaluate
from medvlp.text.wordpiece import train_wordpiece
from tests.messages import messages
from tests.models.test_gate import chests

PROMPTS = [{"name": "p", "label": "effusion", "positive": ["effusion"], "negative": ["no effusion"]}]
OFF = dict.fromkeys(("probes", "grounding", "sentences", "prompt_sensitivity", "image_retrieval"))
OWN, ODD = 60, 20


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a gate and one without, and pictures of which a quarter are noise; half have the finding."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "data").mkdir()
    pictures = [picture[0].numpy() for picture in chests(OWN, seed=5)]
    pictures += list(np.random.default_rng(0).random((ODD, *pictures[0].shape)))
    rows = ["file,patient,split,effusion"]
    for at, picture in enumerate(pictures):
        Image.fromarray((picture * 255).round().astype(np.uint8)).save(folder / f"data/{at:03d}.png")
        rows.append(f"{at:03d}.png,p{at},test,{at % 2}")
    (folder / "data/table.csv").write_text("\n".join(rows) + "\n")
    words = train_wordpiece(["pleural effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
    model = build_model({"name": "single", "width": 16, "layers": 1, "image_size": 32}, tokenizer=words)
    asked = StoredAnswer("zero_shot", "zero_shot", {"prompts": PROMPTS}, ["effusion"], {"name": "dot"})
    gate = fit_gate(chests(120, seed=0), chests(60, seed=1))
    for name, own in (("gated", gate), ("open", None)):
        bundle = Bundle(model, words, preprocessing=[{"name": "read", "size": 32}], answers=(asked,), gate=own)
        save_bundle(folder / name, bundle)
    return folder


def judged(place: Path, name: str, said: list[str]):
    columns = {"image": "file", "id.patient": "patient", "split": "split", "label.effusion": "effusion"}
    data = {"root": str(place / "data"), "table": "table.csv", "columns": columns, "cache": str(place / "cache")}
    data |= {"split": {"name": "own"}, "near_images": False}
    options = {"measures": OFF, "gallery": 0, "resamples": 100, "min_positives": 1}
    tree = {"model": str(place / name), "out": str(place / f"out-{name}"), "data": data, "evaluation": options}
    with messages() as found:
        done = evaluate(EvaluationRun.model_validate(tree))
    said += found
    return done


def test_it_holds_back_what_predict_would_not_score(place: Path) -> None:
    said: list[str] = []
    done = judged(place, "gated", said)
    files = sorted((place / "data").glob("*.png"))
    told = predict_files(load(place / "gated"), files)["results"]
    abstained = np.array([each["abstained"] for each in told])
    assert abstained[OWN:].all()
    held = int(abstained.sum())
    result = done.found["gate_zero_shot"]
    row = result.find("gate_held_back", "all")
    assert (row.counts.positives, row.counts.n, row.interval.method) == (held, OWN + ODD, "wilson")
    sentence = f"The gate would hold back {held} of {OWN + ODD} pictures"
    assert any(sentence in each for each in said)
    assert any(each.startswith(f"{sentence}, 2% of its own kind by design") for each in result.caveats)
    # What is let in ranks as the same pictures alone do; everybody's number stays.
    labels = np.arange(OWN + ODD) % 2 == 1
    scores = np.array([each["scores"]["effusion"] for each in told])
    for group, chosen in (("gate=let in", ~abstained), ("gate=held back", abstained)):
        positive, negative = scores[chosen & labels], scores[chosen & ~labels]
        above = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
        found = result.find("auroc", "effusion", group=group)
        assert found.value is None or found.value == pytest.approx(above, abs=0.02)
    assert done.found["zero_shot"].find("auroc", "effusion").counts.n == OWN + ODD
    page = done.page.read_text()
    assert page.index(sentence) < page.index('class="tiles"')
    assert '<section id="gate">' in page


def test_without_a_gate_there_is_no_such_result_and_the_page_says_so(place: Path) -> None:
    done = judged(place, "open", [])
    assert not [name for name in done.found if name.startswith("gate")]
    assert "none: pictures unlike those of training are scored too" in done.page.read_text()
    said = CliRunner().invoke(app, ["predict", str(place / "open"), str(place / "data/000.png")]).output
    assert "This model has no gate: pictures unlike those that it was trained on are scored too." in said
    gated = CliRunner().invoke(app, ["predict", str(place / "gated"), str(place / "data/000.png")]).output
    assert "has no gate" not in gated
