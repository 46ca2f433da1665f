"""Similar cases are the nearest of the manifest's own pictures, one a study, told without who they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

import medvlp
from medvlp.cli.main import app
from medvlp.core.errors import UserError
from medvlp.data.layouts.phantom import index
from medvlp.data.manifest import Manifest
from medvlp.serving.launch import Options, _readers
from medvlp.serving.reader import Reader

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


@pytest.fixture(scope="module")
def manifest(wide_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Forty records; nobody says that the reports of the first ten are de-identified; one picture is there twice."""
    found = index(wide_cohort.root).where({"view_position": ["PA", "AP"]}).take(np.arange(40))
    images = found.column("image").tolist()
    images[1] = images[0]
    found = found.with_column("deidentified", ["unknown"] * 10 + ["yes"] * 30).with_column("image", images)
    found.save(tmp_path_factory.mktemp("similar") / "m.parquet")
    return found


@pytest.fixture(scope="module")
def searching(judged: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, Path]:
    folder = tmp_path_factory.mktemp("index")
    manifest.save(folder / "m.parquet")
    asked = ["embed", judged / "bundle", folder / "m.parquet", "--out", folder / "t.parquet", "--index", folder / "i"]
    ran = CliRunner().invoke(app, [*map(str, asked), "--workers", "1"])
    assert ran.exit_code == 0, ran.output
    assert "40 cases, 30 with a report." in ran.output
    return Reader(medvlp.load(judged / "bundle"), index=folder / "i"), folder


def path(manifest: Manifest, row: int) -> Path:
    found = manifest.path(row)
    assert found is not None
    return found


def test_neighbours_are_those_of_brute_force_one_a_study(searching: tuple[Reader, Path], manifest: Manifest) -> None:
    reader, _ = searching
    images = reader.model.embed_image([path(manifest, row) for row in range(40)])
    studies = manifest.column("id.study").tolist()
    for row in (0, 7, 23):
        found = reader.similar(reader.prepare(path(manifest, row)), None, 5)
        near = images @ images[row]
        best: dict[str, float] = {}
        for study, score in zip(studies, near, strict=True):
            group = studies[0] if study == studies[1] else study  # the two that hold the same picture
            best[group] = max(best.get(group, -1.0), float(score))
        expected = sorted(best.values(), reverse=True)[:5]
        assert [case["similarity"] for case in found["cases"]] == pytest.approx(expected, abs=1e-5)
        assert found["cases"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert reader.similar(reader.prepare(path(manifest, 0)), None, 1)["folded"] >= 1


def test_a_sentence_finds_what_its_cosine_ranks_first(searching: tuple[Reader, Path], manifest: Manifest) -> None:
    reader, _ = searching
    images = reader.model.embed_image([path(manifest, row) for row in range(40)])
    near = images @ reader.model.embed_text("large left effusion")[0]
    (first,) = reader.similar(None, "large left effusion", 1)["cases"]
    assert first["similarity"] == pytest.approx(float(near.max()), abs=1e-5)
    assert first["id"] in {f"case {row + 1:05d}" for row in np.flatnonzero(near > near.max() - 1e-5)}
    some = reader.similar(None, "large left effusion", 40, findings=["effusion"])["cases"]
    assert some
    assert all("effusion" in case["findings"] for case in some)


def test_nothing_in_the_folder_or_an_answer_tells_who_it_is(searching: tuple[Reader, Path], manifest: Manifest) -> None:
    reader, folder = searching
    told = json.dumps(reader.similar(reader.prepare(path(manifest, 12)), None, 40)).encode()
    kept = b"".join(each.read_bytes() for each in (folder / "i").iterdir())
    for row in range(40):
        record = manifest.record(row)
        for name in ("id", "id.patient", "id.study", "image"):
            assert str(record[name]).encode() not in kept + told
    cases = {case["id"]: case for case in json.loads(told)["cases"]}
    for name, case in cases.items():
        row = int(name.split()[1]) - 1
        text = str(manifest.record(row)["text"])
        assert (case["report"] is None) == (row < 10)
        assert case["report"] is None or all(part in text for part in case["report"].split(". ")[:1])
        assert "CLINICAL INFORMATION" not in (case["report"] or "")


def test_another_models_index_is_refused(searching: tuple[Reader, Path], tiny_run: Trained) -> None:
    _, folder = searching
    other = medvlp.load(tiny_run.bundle)
    with pytest.raises(UserError, match=r"was made with another model \(hash \w+, this one is \w+\): make it again"):
        Reader(other, index=folder / "i")
    with pytest.raises(UserError, match=r"is no index of cases: make one with medvlp embed"):
        Reader(other, index=folder)
    with pytest.raises(UserError, match=r"No index of cases is loaded"):
        Reader(other).similar(None, "effusion", 1)
    with pytest.raises(UserError, match=r"give one of the two"):
        searching[0].similar(None, None, 1)


def test_of_several_bundles_the_one_has_the_index_that_it_was_made_with(
    searching: tuple[Reader, Path], judged: Path, tiny_run: Trained
) -> None:
    bundles = (tiny_run.bundle, judged / "bundle")
    facts = [reader.describe()["index"] for reader in _readers(Options(bundles=bundles, index=searching[1] / "i"))]
    assert [each and each["cases"] for each in facts] == [None, 40]
    with pytest.raises(UserError, match=r"was made with another model"):
        _readers(Options(bundles=bundles[:1], index=searching[1] / "i"))


def test_a_click_shows_the_neighbours_and_a_sentence_its_own(
    searching: tuple[Reader, Path], manifest: Manifest, browser: Any
) -> None:
    pytest.importorskip("gradio", reason='the reading room needs gradio: pip install "openmedvlp[demo]"')
    from medvlp.serving.launch import Options, open_room
    from tests.serving.browsing import drop, opened

    reader, _ = searching
    film = path(manifest, 23)
    running = open_room(Options(port=0, samples=False), readers=(reader,))
    with opened(running, browser) as page:
        drop(page, film)
        page.locator("body[data-findings=told]").wait_for()
        page.locator("#sentence").fill("large left effusion")
        asked = (("#alike", reader.similar(reader.prepare(film), None, 6)),)
        asked += (("#alike-said", reader.similar(None, "large left effusion", 6)),)
        for button, told in asked:
            page.locator(button).click()
            page.locator("#similar .case").nth(len(told["cases"]) - 1).wait_for()
            shown = page.locator("#similar .case").all_inner_texts()
            assert len(shown) == len(told["cases"])
            assert "40 cases were searched" in page.locator("#similar .body > .fine").inner_text()
            for text, case in zip(shown, told["cases"], strict=True):
                assert text.startswith(f"{case['id']} · similarity {case['similarity']:.2f}")
                assert all(name.replace("_", " ") in text for name in case["findings"])
                assert (case["report"] or "").split("\n")[0] in text
    running.close()
