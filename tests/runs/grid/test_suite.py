"""A suite is laid out, and its mistakes told, before anything runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from medvlp.core.errors import ConfigError, UserError
from medvlp.core.files import sha256_of, write_json
from medvlp.core.processes import exclusive
from medvlp.evaluation.results import Counts, Metric, Result, load_result, write_result
from medvlp.evaluation.suite import load_suite_table
from medvlp.pages.record import Cohort, DataFacts, ModelFacts, Part, Record
from medvlp.runs.evaluate import Evaluated
from medvlp.runs.grid import jobs
from medvlp.runs.grid.jobs import run_state
from medvlp.runs.grid.plan import Plan
from medvlp.runs.grid.suite import is_suite, load_suite
from medvlp.runs.grid.table import _part, _suite_table, evaluate_suite
from tests.tiny import write_tree

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = [{"config": "one.yaml"}, {"config": "one.yaml", "name": "two", "overrides": {"evaluation.split": "validate"}}]


@pytest.fixture
def lay(tmp_path: Path) -> Callable[..., Plan]:
    """Lay a suite out: ``lay(words, key=value)``; its bundle is a manifest and nothing else, its data empty folders."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "MANIFEST.sha256").write_text("of a bundle\n")
    (tmp_path / "there").mkdir()
    one = {"model": "x", "out": "y", "data": {"root": str(tmp_path / "there"), "layout": "phantom"}}
    write_tree(tmp_path / "one.yaml", one)

    def made(*words: str, **keys: Any) -> Plan:
        tree = {"model": str(tmp_path / "bundle"), "out": str(tmp_path / "out"), "runs": RUNS, **keys}
        return load_suite(write_tree(tmp_path / "s.yaml", tree), words)

    return made


def test_runs_are_named_by_their_configuration_and_write_below_the_suite(lay: Callable[..., Plan]) -> None:
    plan = lay()
    assert [run.name for run in plan.runs] == ["one", "two"]
    assert [run.evaluation.out for run in plan.runs] == [str(plan.out / "one"), str(plan.out / "two")]
    assert {run.evaluation.model for run in plan.runs} == {plan.config.model}
    assert [run.evaluation.evaluation.split for run in plan.runs] == ["test", "validate"]
    assert [run.absent for run in plan.runs] == ["", ""]


def test_words_are_the_suites_or_every_runs_and_a_runs_own_overrides_come_after_the_suites(
    lay: Callable[..., Plan], tmp_path: Path
) -> None:
    told = {"evaluation.split": "train", "evaluation.gallery": 3}
    plan = lay("seed=7", "name=Mine", f"out={tmp_path / 'else'}", overrides=told)
    assert (plan.title, plan.out) == ("Mine", tmp_path / "else")
    assert [run.evaluation.seed for run in plan.runs] == [7, 7]
    assert [run.evaluation.evaluation.split for run in plan.runs] == ["train", "validate"]
    assert [run.evaluation.evaluation.gallery for run in plan.runs] == [3, 3]


def test_data_that_is_not_there_leaves_a_run_out_and_says_how_to_name_it(
    lay: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = lay(f"roots.two={tmp_path / 'nowhere'}")
    absent = f"its data is not there: there is no folder {tmp_path / 'nowhere'}, give roots.two=FOLDER."
    assert [run.absent for run in plan.runs] == ["", absent]
    assert (run_state(plan.runs[1]).state, run_state(plan.runs[1]).reason) == ("not begun", absent)


def test_what_decides_the_numbers_is_part_of_a_runs_identity_and_where_things_lie_is_not(
    lay: Callable[..., Plan], tmp_path: Path
) -> None:
    before = [run.identity for run in lay().runs]
    assert before[0] != before[1]
    (tmp_path / "moved").mkdir()
    for words in (
        [f"roots.one={tmp_path / 'moved'}"],
        [f"out={tmp_path / 'other'}"],
        ["workers=2"],
        ["device=auto"],
        ["data.cache=c"],
        ["report=[]"],
    ):
        assert [run.identity for run in lay(*words).runs] == before, words
    recipes = "evaluation.measures.recipes.recipes=[chexzero_v1]"
    for word in ("seed=1", "evaluation.resamples=200", recipes, "data.where={sex: F}"):
        assert not {run.identity for run in lay(word).runs} & set(before), word
    (tmp_path / "bundle" / "MANIFEST.sha256").write_text("of another bundle\n")
    assert not {run.identity for run in lay().runs} & set(before)


def test_a_recipes_file_is_part_of_it(lay: Callable[..., Plan], tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\n")
    word = f"evaluation.measures.recipes.recipes=[{recipe}]"
    before = lay(word).runs[0].identity
    assert lay(word).runs[0].identity == before
    recipe.write_text("name: s\n")
    assert lay(word).runs[0].identity != before


def test_a_run_is_finished_where_its_state_and_its_results_say_so(lay: Callable[..., Plan]) -> None:
    run = lay().runs[0]
    assert run_state(run).state == "not begun"
    write_json(run.folder / "suite.json", {"evaluated": run.identity})
    assert run_state(run).state == "begun"  # its results are gone
    (run.folder / "results").mkdir()
    assert run_state(run).state == "finished"
    write_json(run.folder / "suite.json", {"evaluated": {"test": run.identity}})
    assert run_state(run).state == "finished"
    write_json(run.folder / "suite.json", {"evaluated": "of another configuration"})
    assert run_state(run).state == "begun"
    (run.folder / "suite.json").write_text('{"evaluated')  # torn: it is found out again
    assert run_state(run).state == "begun"


def test_a_suite_is_told_from_one_evaluation(tmp_path: Path) -> None:
    assert is_suite("evaluate/suites/ct.yaml")
    assert not is_suite("evaluate/nih_chestxray14.yaml")


FAULTS: list[tuple[str, tuple[str, ...], dict[str, Any], str]] = [
    ("no run", (), {"runs": []}, r"s\.yaml: runs is \[\]: list should have at least 1 item"),
    ("unknown key", (), {"modl": "x"}, r"modl is not a known key: did you mean 'model'"),
    ("same name", (), {"runs": [RUNS[0], RUNS[0]]}, r"runs has 2 runs named 'one': give them names of their own"),
    ("unknown root", (), {"roots": {"on": "x"}}, r"roots names the run 'on', which there is not: did you mean 'one'"),
    (
        "name of a folder above",
        (),
        {"runs": [{"config": "one.yaml", "name": "../x"}]},
        r"runs\[0\]\.name is .*\*\$'\.$",
    ),
    (
        "model of all",
        (),
        {"overrides": {"model": "x"}},
        r"overrides sets 'model', which a suite sets itself: the suite",
    ),
    ("no model", (), {"model": ""}, r"model is missing: give model=BUNDLE, or models\.LABEL=BUNDLE of several"),
    ("label of a run", (), {"models": {"one": "x"}}, r"models has the label 'one', as a run has: give it another"),
    ("label of a folder above", (), {"models": {"..": "x"}}, r"models\..*string should match pattern"),
    ("one and several", ("model=x",), {"models": {"a": "x"}}, r"model= is of one bundle, and models names several"),
    (
        "a card of several",
        (),
        {"models": {"a": "x"}, "reproduces": "medklip"},
        r"reproduces says whose published numbers one bundle has: leave it out",
    ),
    (
        "folder of a run",
        (),
        {"runs": [{"config": "one.yaml", "overrides": {"out": "x"}}]},
        r"run one sets 'out', which a suite sets itself: each run has a folder below",
    ),
    ("root of all", ("data.root=x",), {}, r"the command line sets 'data\.root', .* write roots\.NAME=FOLDER"),
    (
        "a run that changes the bundle",
        ("evaluation.into_bundle=true",),
        {},
        r"run one: evaluation\.into_bundle would change",
    ),
    ("no such file", (), {"runs": [{"config": "on.yaml"}]}, r"run on: Configuration 'on\.yaml' is neither a file nor"),
    (
        "fault of a run",
        ("evaluation.splt=test",),
        {},
        r"run one: evaluation\.splt is not a known key: did you mean 'split'\? .*run two: evaluation\.splt",
    ),
]


@pytest.mark.parametrize(("words", "keys", "message"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_mistake_is_one_sentence(
    lay: Callable[..., Plan], words: tuple[str, ...], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        lay(*words, **keys)


def test_a_bundle_that_is_none_and_a_card_that_is_none_are_told_first(lay: Callable[..., Plan], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no bundle \(it has no MANIFEST\.sha256\): give model=RUN/bundle"):
        lay(f"model={tmp_path / 'there'}")
    lay()
    with pytest.raises(UserError, match=r"no data_cards file 'reproduction/medclip2\.yaml'"):
        evaluate_suite(tmp_path / "s.yaml", ["reproduces=medclip2"])


def test_a_suite_is_not_started_by_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    sentence = (
        r"A suite, which starts processes of its own \(--jobs\), is the work of one process, .* leave torchrun out"
    )
    with pytest.raises(UserError, match=sentence):
        evaluate_suite("evaluate/suites/cxr.yaml")


def test_half_of_other_results_are_never_taken_for_whole_ones(
    lay: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged, then killed while it was judged in another way, then asked for in the first way again."""
    first, other = lay().runs[0], lay(overrides={"evaluation.resamples": 177}).runs[0]
    write_json(first.folder / "suite.json", {"evaluated": {"test": first.identity}})
    (first.folder / "results").mkdir()
    assert run_state(first).state == "finished"

    def killed(config: Any, *, page: bool) -> None:
        write_json(Path(config.out) / "results" / "half.json", {})
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        jobs._train_and_evaluate(other)
    assert run_state(other).state == "begun"
    assert run_state(first).state == "begun"


def _write_what_was_judged(config: Any, *, page: bool) -> Evaluated:
    split = config.evaluation.split
    row = Metric(metric="auroc", label="macro", value=0.8, counts=Counts(n=40, patients=40), split=split)
    result, place = Result(name="zero_shot", recipe="r", data="d", metrics=(row,)), Path(config.out) / "results"
    write_result(result, place / "zero_shot.json")
    return Evaluated(place / "zero_shot.json", place, {"zero_shot": result})


def test_results_of_another_split_in_the_same_folder_are_never_taken_for_those_that_were_there(
    lay: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CheXpert's test, then its validation images for a paper that reports these, then the test again."""
    monkeypatch.setattr(jobs, "evaluate", _write_what_was_judged)
    test, validate = lay().runs[0], lay("evaluation.split=validate").runs[0]
    assert test.folder == validate.folder
    for run, other in ((test, validate), (validate, test), (test, validate)):
        jobs._train_and_evaluate(run)
        assert (run_state(run).state, run_state(other).state) == ("finished", "begun")
        (result,) = (load_result(path) for path in (run.folder / "results").glob("*.json"))
        assert {row.split for row in result.metrics} == set(run.evaluations)
    shutil.rmtree(test.folder / "results")  # by hand, so that it is judged anew
    jobs._train_and_evaluate(test)
    assert run_state(test).state == "finished"


def test_two_runs_of_one_data_set_have_rows_and_lines_of_their_own_name(
    lay: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "evaluate", _write_what_was_judged)
    for runs, names in ((RUNS, [" (one)", " (two)"]), (RUNS[:1], [""])):
        plan = lay(runs=runs)
        for run in plan.runs:
            jobs._train_and_evaluate(run)
        _suite_table(plan)
        rows = (plan.out / "table.csv").read_text(encoding="utf-8").splitlines()[1:]
        assert [row.partition(",")[0] for row in rows] == [f"The synthetic hospital{name}" for name in names]
        page = (plan.out / "table.html").read_text(encoding="utf-8")
        assert all(f"The synthetic hospital{name}, own" in page for name in names)


def test_each_of_several_bundles_is_judged_on_every_data_set_in_a_folder_of_its_label(
    lay: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(jobs, "evaluate", _write_what_was_judged)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "MANIFEST.sha256").write_text("of a second bundle\n")
    alone = lay()
    models = {"ours": str(tmp_path / "bundle"), "theirs": str(tmp_path / "second")}
    plan = lay(models=models)
    folders = ["ours/one", "theirs/one", "ours/two", "theirs/two"]
    assert [run.folder.relative_to(plan.out).as_posix() for run in plan.runs] == folders
    assert [run.evaluation.model for run in plan.runs] == [*models.values(), *models.values()]
    assert [run.identity for run in plan.runs][::2] == [run.identity for run in alone.runs]
    assert len({run.identity for run in plan.runs}) == 4
    for run in plan.runs[:3]:
        jobs._train_and_evaluate(run)
    done = _suite_table(plan)
    assert done.unfinished == ("theirs, two",)
    table = load_suite_table(plan.out / "table.json")
    assert {label: path for label, (path, _) in table.models.items()} == models
    assert [line.folder for line in table.lines] == folders
    assert [number.run for number in table.numbers] == ["ours, one", "theirs, one", "ours, two"]
    page = (plan.out / "table.html").read_text(encoding="utf-8")
    assert "2 bundles, each on 2 data sets: 3 of 4 evaluations are finished." in page
    assert all(f"{label} is {path} (" in page for label, path in models.items())
    with pytest.raises(UserError, match=r"is no bundle .*: give models\.theirs=RUN/bundle"):
        lay(models={**models, "theirs": str(tmp_path)})


def test_a_table_names_the_bundle_that_its_numbers_are_of_and_not_one_that_took_its_place(
    lay: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(jobs, "evaluate", _write_what_was_judged)
    judged, plan = sha256_of(tmp_path / "bundle" / "MANIFEST.sha256"), lay()
    for run in plan.runs:
        jobs._train_and_evaluate(run)
    (tmp_path / "bundle" / "MANIFEST.sha256").write_text("of another bundle\n")
    _suite_table(plan)
    assert load_suite_table(plan.out / "table.json").bundle == judged


def test_a_suite_that_is_refused_leaves_the_note_of_the_one_at_work(lay: Callable[..., Plan], tmp_path: Path) -> None:
    plan = lay()
    with exclusive(plan.out, what="suite", otherwise=""), pytest.raises(UserError, match="Another suite is at work"):
        evaluate_suite(tmp_path / "s.yaml", ["name=Other"])
    assert not (plan.out / "suite.json").exists()


def test_records_that_were_judged_are_counted_and_not_those_with_a_label(lay: Callable[..., Plan]) -> None:
    """CheXpert's official test has 668 images; of most of them a report may say nothing of a finding."""
    run = lay("data.split=official").runs[0]
    assert _part(run, "chexpert") == []  # nobody knows
    for there, left_out, told in ((668, {}, []), (668, {"truncated": 68}, ["600"]), (600, {}, ["600"])):
        data = DataFacts(manifest="d", judged="test", left_out=left_out)
        cohort = Cohort(splits=(Part(name="train", records=9), Part(name="test", records=there)))
        Record(model=ModelFacts(name="b"), data=data, cohort=cohort).write(run.folder / "evaluation.json")
        words = "records were judged, the published split has 668: mind it beside published numbers."
        assert _part(run, "chexpert") == [f"{count} {words}" for count in told]
