"""Training from a configuration, end to end on the tiny hospital."""

from __future__ import annotations

import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from medvlp.answers.asking.declared import Declared, stored_answer
from medvlp.answers.question import Question
from medvlp.answers.retrieval import Retrieval
from medvlp.config.recipe import full_tree, recipe_of, resumed
from medvlp.config.tree import PhaseConfig, RunConfig, check_config
from medvlp.core.context import Context
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.files import read_json, sha256_of, write_json
from medvlp.core.keys import Key, keys
from medvlp.core.processes import exclusive
from medvlp.core.protocols import Objective, Score
from medvlp.core.registry import available, build, schema
from medvlp.core.term import Terms
from medvlp.models import bundle as bundles
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, save_bundle
from medvlp.models.patches import apply_patches
from medvlp.runs.build import build_objectives, build_parts
from medvlp.runs.start import files_of, start_from
from medvlp.runs.train import Built, dry_run, train
from medvlp.text.wordpiece import train_wordpiece
from medvlp.training.checkpoints import latest, load_checkpoint
from tests.messages import messages
from tests.models.words import DUAL, VIT
from tests.plugins import installed
from tests.tiny import tiny_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


@pytest.fixture
def tree(tiny_cohort: CohortSummary, tmp_path: Path) -> dict[str, Any]:
    return tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")


def config_of(tree: dict[str, Any]) -> RunConfig:
    return check_config(tree, source="test")


class Typo(Objective):
    """An objective of another package whose scope is neither: no term of it would be asked for."""

    scope = "samples"  # type: ignore[assignment]

    def needs(self) -> frozenset[Key]:
        return keys("image/embedding")

    def forward(self, ctx: Context) -> Terms:
        return {}


class Words(Typo):
    """One that names its needs as words."""

    scope = "sample"

    def needs(self) -> frozenset[Key]:
        return frozenset({"image/embedding"})  # type: ignore[arg-type]


class Silent(Typo):
    """One that forgets to return its needs."""

    scope = "sample"

    def needs(self) -> frozenset[Key]:
        keys("image/embedding")  # type: ignore[return-value]


class Weighed(Typo):
    """One with an option of a name that the engine reads itself: it would keep its default whatever a file says."""

    scope = "sample"

    def __init__(self, *, weight: float = 2.0) -> None:
        super().__init__()
        self.own = weight


class Plain:
    """What is no objective at all."""


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("Typo", "the scope of 'mine' is 'samples': make it 'batch' or 'sample'"),
        ("Words", r"'mine' needs frozenset\({'image/embedding'}\), no keys: let needs\(\) return keys"),
        ("Silent", r"'mine' needs None, no keys: let needs\(\) return keys"),
        ("Weighed", "'mine' has an option `weight` of its own: call it otherwise"),
        ("Plain", "'mine' makes no Objective: derive its class from that"),
    ],
)
def test_an_objective_that_the_engine_would_pass_over_is_refused(
    tree: dict[str, Any], kind: str, sentence: str
) -> None:
    tree["phases"][0]["objectives"] = [{"name": "mine", "weight": 3.0}]
    with (
        installed(mine=f"objectives {__name__}:{kind}"),
        pytest.raises(ConfigError, match=rf"phases\[0\]\.objectives\[0\]: {sentence}"),
    ):
        build_objectives(config_of(tree).phases, {})


def test_no_objective_has_an_option_that_its_phase_reads_itself() -> None:
    """A file could not set it: ``weight`` is how much the whole objective counts."""
    assert not [name for name in available("objectives") if "weight" in schema("objectives", name).model_fields]


def test_a_weight_that_is_half_a_ramp_is_told_in_sentences() -> None:
    phase = PhaseConfig(until=8, objectives=[{"name": "clip", "weight": {"start": 0.0, "endd": 1.0}}])
    sentences = r"objectives\[0\]\.weight\.end is missing: .*\.until is missing: .*\.endd is not .* did you mean 'end'"
    with pytest.raises(ConfigError, match=sentences):
        build_objectives([phase], {})


def phases_of(*phases: list[dict[str, Any]]) -> list[PhaseConfig]:
    return [PhaseConfig(until=8 * (i + 1), objectives=each) for i, each in enumerate(phases)]


def test_an_objective_goes_on_as_one_module_in_every_phase_that_has_its_options() -> None:
    """Its parameters are learned on, though another of its name came in between or first."""
    plain, softened = {"name": "clip"}, {"name": "clip", "label_smoothing": 0.1}
    objectives, _ = build_objectives(phases_of([plain], [softened], [softened], [plain]), {})
    (first, second, third, fourth) = ([*phase.items()] for phase in objectives)
    assert second == third != first == fourth
    assert second[0][0] != first[0][0]


def test_two_objectives_of_one_name_are_refused_in_every_phase() -> None:
    """Named like one of an earlier phase, the first of the two was lost."""
    two = [{"name": "clip", "text": "text.findings"}, {"name": "clip", "text": "text.impression"}]
    sentence = r"phases\[1\]\.objectives\[1\]: the phase has two objectives named 'clip': give one of them `as: NAME`"
    with pytest.raises(ConfigError, match=sentence):
        build_objectives(phases_of([{"name": "clip"}], two), {})


def test_patience_without_validation_is_refused(tree: dict[str, Any]) -> None:
    tree["data"]["split"] = {"name": "patient", "fractions": {"train": 0.8, "test": 0.2}}
    tree["training"]["patience"] = 3
    with pytest.raises(UserError, match=r"training\.patience counts validations, and no record is in the split 'val"):
        dry_run(config_of(tree))


@pytest.mark.parametrize("option", ["recompute", "compile"])
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"patches": [{"name": "lora"}]}, "patches do"),
        ({"surgery": [{"name": "learn_masks", "kind": "text"}]}, "surgery learn_masks does"),
    ],
)
def test_what_draws_in_a_later_phase_is_refused_at_once_where_blocks_do_not_run_plainly(
    tree: dict[str, Any], more: dict[str, Any], words: str, option: str
) -> None:
    last = tree["phases"][-1]
    tree["phases"] = [*tree["phases"], {**last, "until": last["until"] + 64, **more}]
    tree["training"] |= {option: True}
    with pytest.raises(
        ConfigError, match=rf"phases\[{len(tree['phases']) - 1}\]\.{words} not go with training\.{option}"
    ):
        dry_run(check_config(tree, source="test"))


def test_validation_measures_with_the_options_of_the_evaluation(tree: dict[str, Any]) -> None:
    tree["evaluation"]["measures"] = {"detection": {"iou": [0.7]}}
    validate: Any = Built(config_of(tree)).setup.validate
    assert validate._measures == {"detection": {"iou": [0.7]}}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_workers_change_no_bit(tree: dict[str, Any], tiny_run: Trained, workers: int) -> None:
    tree["training"]["workers"] = workers
    train(config_of(tree))
    assert load_checkpoint(latest(Path(tree["run"]))).trainer["recipe"] == recipe_of(resumed(tiny_run.run))
    for name in ("weights", "optimiser", "states"):
        own, expected = (load_file(latest(Path(run)) / f"{name}.safetensors") for run in (tree["run"], tiny_run.run))
        assert own.keys() == expected.keys()
        assert all(torch.equal(own[key], expected[key]) for key in own)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_notebook_without_gradients_trains_as_any_other_caller(
    mode: type[torch.no_grad | torch.inference_mode], tree: dict[str, Any], tiny_run: Trained
) -> None:
    with mode():
        released = train(config_of(tree)).bundle
        assert not torch.is_grad_enabled()
    own, expected = (load_file(Path(run) / "model.safetensors") for run in (released, tiny_run.bundle))
    assert all(torch.equal(own[key], expected[key]) for key in expected)


def test_a_run_stopped_and_resumed_with_other_workers_is_the_same(tree: dict[str, Any], tiny_run: Trained) -> None:
    with pytest.raises(UserError, match="Training was interrupted"):
        train(config_of(tree), stop_at=24)
    tree["training"]["workers"] = 2
    train(config_of(tree))
    own, expected = (load_file(latest(Path(run)) / "weights.safetensors") for run in (tree["run"], tiny_run.run))
    assert all(torch.equal(own[key], expected[key]) for key in own)


def test_a_run_does_not_go_on_by_another_metric_than_its_best_was_chosen_by(tree: dict[str, Any]) -> None:
    tree["evaluation"]["choose"] = "retrieval/recall@1"
    with pytest.raises(UserError, match="Training was interrupted"):
        train(config_of(tree), stop_at=40)
    tree["evaluation"]["choose"] = "retrieval/recall@10"
    with pytest.raises(UserError, match=r"was chosen by retrieval/recall@1 so far, and retrieval/recall@10 cannot be"):
        train(config_of(tree))
    tree["evaluation"]["choose"] = "retrieval/recall@1"
    assert train(config_of(tree)).outcome.samples_seen == 64


def test_a_split_to_be_judged_that_the_data_lack_is_refused_before_training(tree: dict[str, Any]) -> None:
    config = config_of(tree)
    with pytest.raises(UserError, match=r"where split is 'tset': the column holds test, train, validate\."):
        train(config, judged=["test", "tset"])
    assert not (Path(config.run) / "checkpoints").exists()


def test_two_trainings_do_not_write_one_run(tree: dict[str, Any]) -> None:
    run = Path(tree["run"])
    with (
        exclusive(run, what="training", otherwise="", lock=".training.lock"),
        pytest.raises(UserError, match=r"^Another training is at work in .*: wait for it, or choose another run\.$"),
    ):
        train(config_of(tree))
    assert [path.name for path in run.iterdir()] == [".training.lock"]  # not even its words, which the other writes


def test_a_finished_run_is_told_to_be_one_without_reading_its_pictures(tree: dict[str, Any], tmp_path: Path) -> None:
    tree["data"]["near_images"] = False
    first = train(config_of(tree))
    shutil.rmtree(tmp_path / "cache")
    again = train(config_of(tree))
    assert again.complete
    assert (again.outcome, again.manifest.hash) == (first.outcome, first.manifest.hash)
    assert not (tmp_path / "cache").exists()


def test_a_run_is_neither_finished_nor_gone_on_with_when_a_file_that_it_names_has_another_content(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    tree["data"]["near_images"] = False
    words = tmp_path / "words.txt"
    words.write_text("effusion\nnodule\n")
    config = config_of({**tree, "banks": {"findings": {"file": str(words)}}})
    for stop, told in ((16, "was interrupted"), (None, "")):
        with pytest.raises(UserError, match=told) if told else nullcontext():
            train(config, stop_at=stop)
        words.write_text("effusion\nmass\n")
        with pytest.raises(UserError, match=r"another content of banks\.findings: restore it, or choose another run"):
            train(config)
        words.write_text("# of the lung\neffusion\nnodule\n")  # the same texts
    assert train(config).complete
    words.unlink()
    assert train(config).complete  # it reads them no more
    facts = read_json(Path(config.run) / "data.json")
    words.write_text("effusion\nmass\n")
    write_json(Path(config.run) / "data.json", {key: value for key, value in facts.items() if key != "files"})
    assert train(config).complete  # of a folder from before contents were noted


def test_the_files_of_a_run_are_its_banks_those_of_objectives_and_views_and_the_weights_at_its_start(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("a.jsonl", "model.safetensors"):
        (tmp_path / name).write_text(name)
    tree["data"]["suffix"].append({"name": "relations", "file": str(tmp_path / "a.jsonl")})
    config = config_of({**tree, "init_from": str(tmp_path)})
    digests = {name: sha256_of(tmp_path / name) for name in ("a.jsonl", "model.safetensors")}
    assert files_of(config) == {
        str(tmp_path / "a.jsonl"): digests["a.jsonl"],
        "init_from": digests["model.safetensors"],
    }


def test_what_does_not_change_what_is_learned_does_not_change_the_recipe(tree: dict[str, Any]) -> None:
    recipe = recipe_of(config_of(tree))
    tree["training"] |= {"workers": 2, "chunks": 4, "keep": 9, "log_every": 1, "checkpoint_every": 1, "device": "cpu"}
    tree["training"] |= {"recompute": True, "compile": True}  # recompute: what a run out of memory is told
    tree["evaluation"] |= {"resamples": 200}
    tree["run"], tree["data"]["cache"] = "elsewhere", None
    tree["phases"][0]["objectives"][0] |= {"positives": "same_report"}  # its default
    tree["model"]["embed_dim"] = 8
    assert recipe_of(config_of(tree)) == recipe
    for path, value in (("seed", 2), ("optimiser", {"rate": 1e-2}), ("tokenizer", {"vocab_size": 300})):
        assert recipe_of(config_of({**tree, path: value})) != recipe


def test_the_tree_in_the_run_folder_has_every_default(tiny_run: Trained) -> None:
    written = yaml.safe_load((tiny_run.run / "config.yaml").read_text())
    assert written == full_tree(resumed(tiny_run.run))
    assert written["phases"][0]["objectives"][0]["label_smoothing"] == 0.0
    assert written["model"]["vision"]["pretrained"] is False
    assert written["model"]["scale"]["max"] == 100.0
    assert written["data"]["prefix"][0]["preset"] == "dicom_voi_v1"
    assert written["training"]["guard"]["most"] == 10


def test_a_run_folder_can_be_moved_and_resumed_where_it_is(tree: dict[str, Any], tmp_path: Path) -> None:
    tree["phases"][0]["until"] = 32
    with pytest.raises(UserError, match="interrupted"):
        train(config_of(tree), stop_at=16)
    moved = Path(tree["run"]).rename(tmp_path / "moved: here")
    done = train(resumed(moved))
    assert done.run == moved
    assert not Path(tree["run"]).exists()


def test_the_released_model_is_the_average_at_the_best_checkpoint(tiny_run: Trained) -> None:
    best = tiny_run.outcome.best
    assert best is not None
    states = load_file(best / "states.safetensors")
    released = load_file(tiny_run.bundle / "model.safetensors")
    for name, tensor in released.items():
        assert torch.equal(tensor, states[f"average|model.{name}"]), name


def test_the_released_model_is_the_average_of_a_schedule_free_optimiser(tree: dict[str, Any]) -> None:
    tree["training"]["average"] = None
    tree["phases"][0]["until"] = 32
    tree["optimiser"] = {
        "name": "schedule_free",
        "schedule": "constant",
        "rate": 1e-3,
        "warmup": 8,
        "betas": [0.8, 0.98],
    }
    done = train(config_of(tree))
    best = load_checkpoint(done.outcome.best)
    released = load_file(done.bundle / "model.safetensors")
    iterates = {key.removesuffix("|iterate"): z for key, z in best.optimiser.items() if key.endswith("|iterate")}
    names = [name for name in released if f"model.{name}" in iterates]
    assert len(names) > 10
    for name in names:
        y = 0.2 * iterates[f"model.{name}"] + 0.8 * released[name]
        torch.testing.assert_close(best.weights[f"model.{name}"], y, rtol=1e-5, atol=1e-6)
    assert not all(torch.equal(released[name], best.weights[f"model.{name}"]) for name in names)


def test_a_teacher_called_average_is_not_released_and_not_replaced(tree: dict[str, Any]) -> None:
    tree["states"] = {"average": {"name": "ema", "horizon": 1e9}}
    tree["training"]["average"] = None
    tree["phases"][0]["until"] = 16
    done = train(config_of(tree))
    student = load_file(done.outcome.best / "weights.safetensors")
    released = load_file(done.bundle / "model.safetensors")
    names = [name for name in released if f"model.{name}" in student and released[name].dim() > 1]
    assert names
    assert all(torch.equal(released[name], student[f"model.{name}"]) for name in names)
    tree["training"]["average"] = 64
    with pytest.raises(ConfigError, match=r"training: average is kept as a state of that name, and states has one"):
        config_of(tree)


def test_a_run_from_a_bundle_starts_with_its_weights_and_words(
    tree: dict[str, Any], tiny_run: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that the bundle lacks starts afresh; one that the next model lacks stays behind."""
    built: list[object] = []  # a tower of a gigabyte is built once, and not for its words or labels too
    monkeypatch.setattr(bundles, "build_model", lambda *a, **more: built.append(a) or build_model(*a, **more))
    caption = {"name": "caption", "width": 16, "layers": 1, "heads": 2}
    tree["phases"] = [{"until": 8, "objectives": [{"name": "clip"}, caption]}]
    tree |= {"init_from": str(tiny_run.bundle), "tokenizer": {"vocab_size": 128, "max_length": 48}}
    second = train(config_of(tree))
    assert len(built) == 1
    start = load_file(Path(tree["run"]) / "checkpoints" / "step-00000000" / "weights.safetensors")
    released = load_file(tiny_run.bundle / "model.safetensors")
    assert all(torch.equal(start[f"model.{name}"], tensor) for name, tensor in released.items())
    assert any(name.startswith("model.heads.captioner.") for name in start)
    names = ("tokenizer.json", "tokenizer.yaml")
    tokenizers = [[(Path(run) / "tokenizer" / n).read_bytes() for n in names] for run in (tree["run"], tiny_run.bundle)]
    assert tokenizers[0] == tokenizers[1]
    written = load_file(second.bundle / "model.safetensors")
    assert any(name.startswith("heads.captioner.") for name in written)
    tree |= {"run": str(tmp_path / "third"), "init_from": str(second.bundle)}
    tree["phases"] = [{"until": 8, "objectives": [{"name": "clip"}]}]
    train(config_of(tree))
    third = load_file(Path(tree["run"]) / "checkpoints" / "step-00000000" / "weights.safetensors")
    assert all(torch.equal(tensor, written[name.removeprefix("model.")]) for name, tensor in third.items())


def test_a_tower_of_words_starts_afresh_beside_what_a_bundle_of_pictures_knows(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    model = tree["model"]
    tree["model"] = {"name": "vision", "vision": model["vision"]}
    tree["phases"] = [{"until": 8, "objectives": [{"name": "classify", "labels": ["effusion"]}]}]
    first = train(config_of(tree))
    tree |= {"run": str(tmp_path / "second"), "model": model, "init_from": str(first.bundle)}
    tree["phases"] = [{"until": 8, "objectives": [{"name": "clip"}]}]
    train(config_of(tree))
    start = load_file(Path(tree["run"]) / "checkpoints" / "step-00000000" / "weights.safetensors")
    pictures = {n: t for n, t in load_file(first.bundle / "model.safetensors").items() if n.startswith("towers.image.")}
    assert pictures
    assert all(torch.equal(start[f"model.{name}"], tensor) for name, tensor in pictures.items())
    assert any(name.startswith("model.towers.text.") for name in start)
    assert (Path(tree["run"]) / "tokenizer" / "tokenizer.json").is_file()


def test_a_head_of_other_findings_or_in_another_order_starts_afresh(tree: dict[str, Any], tmp_path: Path) -> None:
    tree["model"] = {"name": "vision", "vision": tree["model"]["vision"]}
    tree["phases"] = [{"until": 8, "objectives": [{"name": "classify", "labels": ["effusion", "nodule"]}]}]
    first = train(config_of(tree))
    given, head = load_file(first.bundle / "model.safetensors"), "heads.image/findings.output.weight"
    assert bool(given[head].any())
    tree |= {"init_from": str(first.bundle)}
    for number, labels in enumerate([["effusion", "nodule"], ["nodule", "effusion"], ["nodule", "edema", "effusion"]]):
        tree |= {"run": str(tmp_path / str(number))}
        tree["phases"][0]["objectives"][0]["labels"] = labels
        train(config_of(tree))
        start = load_file(Path(tree["run"]) / "checkpoints" / "step-00000000" / "weights.safetensors")
        assert bool(start[f"model.{head}"].any()) == (number == 0), labels
        assert start[f"model.{head}"].shape[0] == len(labels)
        assert all(torch.equal(start[f"model.{n}"], t) for n, t in given.items() if n.startswith("towers."))


def test_a_head_of_another_list_of_answers_starts_afresh(tmp_path: Path) -> None:
    """Else what was "yes" of the bundle were "no" of the run, in a head of the same shape."""
    words = train_wordpiece(["no effusion"] * 2, vocab_size=64, max_length=16)
    spec = {**DUAL, "vision": VIT, "heads": {"question": {"name": "question_classifier", "answers": 2}}}

    def declared(*answers: str) -> Declared:
        return Declared("question", "question", Question(answers=list(answers)))

    given, listed = build_model(spec, tokenizer=words), (stored_answer(declared("no", "yes")),)
    save_bundle(tmp_path / "start", Bundle(model=given, tokenizer=words, preprocessing=[], answers=listed))
    for same, answers in ((True, ("no", "yes")), (False, ("yes", "no"))):
        own = build_model(spec, tokenizer=words, seed=1)
        first = {name: tensor.clone() for name, tensor in own.state_dict().items()}
        start_from(own, tmp_path / "start", [declared(*answers)])
        for name, tensor in own.state_dict().items():
            taken = same or not name.startswith("heads.question.")
            assert torch.equal(tensor, (given.state_dict() if taken else first)[name]), name


def test_a_score_that_is_learnt_goes_on_from_the_bundle(tmp_path: Path) -> None:
    spec = {"name": "cross_decoder", "width": 4, "layers": 1, "heads": 2, "feedforward": 8, "hidden": [6]}

    def declared() -> Declared:
        score: Score = build("models/scores", spec, where="score")
        return Declared("retrieval", "retrieval", Retrieval(score=score), spec, score)

    given, own = declared(), declared()
    model = build_model({"name": "vision", "vision": VIT}, tokenizer=None)
    answers = (stored_answer(given),)
    save_bundle(tmp_path / "start", Bundle(model=model, tokenizer=None, preprocessing=[], answers=answers))
    start_from(build_model({"name": "vision", "vision": VIT}, tokenizer=None, seed=1), tmp_path / "start", [own])
    assert given.module is not None
    assert own.module is not None
    after = own.module.state_dict()
    assert after
    assert all(torch.equal(after[name], tensor) for name, tensor in given.module.state_dict().items())


def test_a_scale_starts_afresh_where_no_picture_met_words_before(tmp_path: Path) -> None:
    given = build_model({"name": "vision", "vision": VIT}, tokenizer=None)
    save_bundle(tmp_path / "start", Bundle(model=given, tokenizer=None, preprocessing=[]))
    words = train_wordpiece(["no effusion"] * 2, vocab_size=64, max_length=16)
    own = build_model({**DUAL, "vision": VIT, "scale": {"init": 5.0}}, tokenizer=words)
    start_from(own, tmp_path / "start")
    assert own.scale(torch.ones(1)).item() == pytest.approx(5.0)


def test_pixels_that_are_scaled_otherwise_than_for_the_weights_are_told(tmp_path: Path) -> None:
    shown = {"mean": [0.449], "std": [0.226]}
    specs = [{"name": "vision", "vision": {**VIT, **more}} for more in (shown, {**shown, "mean": [0.45]}, {})]
    given, alike, other = (build_model(spec, tokenizer=None) for spec in specs)
    save_bundle(tmp_path / "start", Bundle(model=given, tokenizer=None, preprocessing=[]))
    with messages() as told:
        start_from(alike, tmp_path / "start")
    assert told == []
    with messages() as told:
        start_from(other, tmp_path / "start")
    where = f"and {tmp_path / 'start'} was trained with"
    assert told == [
        f"towers.image.mean is [0.5], {where} [0.449]: set it as in its bundle.yaml.",
        f"towers.image.std is [0.25], {where} [0.226]: set it as in its bundle.yaml.",
    ]


def test_a_patch_that_hid_tokens_in_training_stays_behind(tmp_path: Path) -> None:
    spec = {"name": "vision", "vision": VIT}
    given, own = (build_model(spec, tokenizer=None, seed=seed) for seed in (0, 1))
    apply_patches(given, [{"name": "masked_image", "kind": "image"}])
    save_bundle(tmp_path / "start", Bundle(model=given, tokenizer=None, preprocessing=[]))
    start_from(own, tmp_path / "start")
    assert all(torch.equal(tensor, given.state_dict()[name]) for name, tensor in own.state_dict().items())


def test_a_bundle_of_another_architecture_is_refused(tree: dict[str, Any], tiny_run: Trained) -> None:
    tree |= {"init_from": str(tiny_run.bundle), "model": {**tree["model"], "embed_dim": 4}}
    with pytest.raises(UserError, match=r"holds another model than the configuration describes: 2 of another shape"):
        train(config_of(tree))
    assert latest(Path(tree["run"])) is None


def test_a_tokenizer_that_a_killed_start_left_is_not_trusted(tree: dict[str, Any]) -> None:
    left = Path(tree["run"]) / "tokenizer"
    left.mkdir(parents=True)
    (left / "tokenizer.json").write_text('{"half": ')
    tree["phases"][0]["until"] = 8
    assert train(config_of(tree)).outcome.samples_seen == 8


def test_a_training_that_diverged_says_so_where_nothing_is_measured(tree: dict[str, Any]) -> None:
    """After the first step no score is finite, and the second is skipped."""
    tree["data"] |= {"split": {"name": "patient", "fractions": {"train": 0.4, "validate": 0.6}}}
    tree["optimiser"] |= {"rate": 1e30}
    tree["phases"][0]["until"] = 16
    with messages() as told, pytest.raises(UserError, match=r"training that ends so diverged: lower optimiser\.rate"):
        train(config_of(tree))
    (line,) = (line for line in told if "the last checkpoint is released" in line)
    assert line == (
        "Validation does not measure 'zero_shot/auroc/macro', and training ended in skipped steps (skipped.jsonl): "
        "the last checkpoint is released."
    )
    assert (Path(tree["run"]) / "skipped.jsonl").is_file()


def test_deterministic_kernels_are_asked_for_no_longer_than_the_run(tree: dict[str, Any]) -> None:
    """Whoever trains in a process of its own finds torch's mode as it was: here a warning is all it asks for."""
    tree["training"]["deterministic"] = True
    tree["phases"][0]["until"] = 8
    torch.set_deterministic_debug_mode("warn")
    try:
        with pytest.raises(UserError, match="Training was interrupted"):
            train(config_of(tree), stop_at=8)
        assert torch.get_deterministic_debug_mode() == 1
    finally:
        torch.set_deterministic_debug_mode("default")


def test_a_run_that_learnt_nothing_releases_nothing(tree: dict[str, Any]) -> None:
    """Of one pair alone CLIP's loss is 0, whatever the model; what was decayed meanwhile is no trained model."""
    tree["training"]["batch"] = 1
    tree["phases"][0]["until"] = 2
    for _ in range(2):  # the same when it is started again
        with pytest.raises(UserError, match="No step of the run had a gradient"):
            train(config_of(tree))
        assert not (Path(tree["run"]) / "bundle").exists()


def test_what_is_chosen_and_what_is_not_exact_is_told(tree: dict[str, Any]) -> None:
    tree["phases"][0]["until"] = 8
    with messages() as told:
        train(config_of(tree))
    assert told[0].startswith("Device ")
    assert re.search(r"Towers in torch\.(float32|bfloat16): ", told[0])  # which of them is the processor's
    assert not any("BatchNorm" in sentence for sentence in told)
    assert any("does not measure 'zero_shot/auroc/macro': the last checkpoint is released" in word for word in told)
    tree["run"] += "-2"
    tree["model"] = {**tree["model"], "vision": {**tree["model"]["vision"], "norm": "keep"}}
    tree["training"]["chunks"] = 2
    with messages() as told:
        train(config_of(tree))
    assert any("BatchNorm layers see one chunk of one process at a time: gradients are not exact" in w for w in told)


def test_a_batch_of_more_samples_than_there_are_records_is_told(tree: dict[str, Any]) -> None:
    records = len(Built(config_of(tree)).splits["train"])
    for batch, expected in ((records, 0), (records + 1, 1)):
        tree["training"]["batch"] = batch
        with messages() as told:
            Built(config_of(tree))
        sentence = f"training.batch {batch} is more than the {records} records to train on"
        assert sum(sentence in word for word in told) == expected


def test_a_need_may_be_what_a_patch_of_the_phase_gives(tree: dict[str, Any]) -> None:
    tree["model"] = {"name": "single", "image_size": 32, "patch_size": 8, "width": 16, "layers": 1}
    tree["states"] = {"slow": {"name": "ema", "horizon": 100}}
    masked = {"name": "ibot", "teacher": "slow", "view": "image", "hidden": 8, "bottleneck": 4, "prototypes": 8}
    mask = {"name": "masked_image", "kind": "image", "view": "image"}
    tree["phases"] = [{"until": 16, "objectives": [{"name": "clip"}, masked], "patches": [mask]}]
    words = train_wordpiece(["no effusion"] * 2, vocab_size=64, max_length=16)
    parts = build_parts(config_of(tree), words, ("image", "text"))
    assert not parts.model.patches
    del tree["phases"][0]["patches"]
    with pytest.raises(ConfigError, match=r"Need 'image/hidden' cannot be computed"):
        build_parts(config_of(tree), words, ("image", "text"))


def test_first_weights_of_a_score_are_a_function_of_the_seed_alone(tree: dict[str, Any]) -> None:
    local = {"name": "projection", "reads": "tokens", "width": 4}
    tree["model"] = {"name": "single", "image_size": 32, "patch_size": 8, "width": 16, "layers": 1, "embed_dim": 4}
    tree["model"]["heads"] = {"image/local": local, "text/local": local}
    score = {"name": "cross_decoder", "width": 4, "layers": 1, "heads": 2, "feedforward": 8, "hidden": [6]}
    tree["phases"] = [{"until": 16, "objectives": [{"name": "clip", "score": score}]}]
    words = train_wordpiece(["no effusion"] * 2, vocab_size=64, max_length=16)
    made = []
    for seed in (0, 0, 1):
        parts = build_parts(config_of({**tree, "seed": seed}), words, ("image", "text"))
        made.append(torch.cat([each.flatten() for each in parts.objectives[0]["clip"].parameters()]))
        torch.rand(1)  # whatever else the process draws
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_phases_may_have_their_own_records_patches_and_refreshes(tree: dict[str, Any]) -> None:
    lora = {"name": "lora", "kind": "text", "view": "text", "on": "linear[*]", "rank": 2}
    clip = {"name": "clip", "positives": "own"}
    tree["phases"] = [
        {"until": 16, "objectives": [clip], "where": {"view_position": ["PA"]}},
        {"until": 32, "objectives": [clip], "patches": [lora], "trainable": ["!*", "model.patches.*"]},
    ]
    tree["training"] |= {"average": None, "validate_every": 16}
    tree["evaluation"]["choose"] = "zero_shot/auroc/macro"  # not measured here: the last one is released
    done = train(config_of(tree))
    described = yaml.safe_load((done.bundle / "bundle.yaml").read_text())
    assert [(patch["name"], patch["view"]) for patch in described["model"]["patches"]] == [("lora", "text")]
    folders = sorted((done.run / "checkpoints").glob("step-*"))
    before, after = (load_file(folder / "weights.safetensors") for folder in (folders[-2], folders[-1]))
    moved = {name for name in before if name in after and not torch.equal(before[name], after[name])}
    assert all("patches" in name for name in moved)
    assert any(name.endswith(".up") and after[name].any() for name in after if "patches" in name)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_one_word_leaves_out_texts_that_are_true_of_a_picture(name: str, tree: dict[str, Any]) -> None:
    """For reports, impressions and statements, as in the quick start; the view that reads the facts comes by itself."""
    tree["model"] = {**tree["model"], "scale": {"init": 10.0, "bias": -10.0}}
    impression = {"name": "sections", "sections": ["impression"], "to": "text.impression"}
    tree["data"]["prefix"].insert(1, impression)
    tree["data"]["suffix"].append({"name": "other_side", "stated": "text.stated", "unsided": 1})
    losses = []
    for word in ("none", "true_of"):
        tree["phases"][0]["objectives"] = [
            {"name": name, "as": f"of_{role}", "text": text, "exclude": word}
            for role, text in (("report", "text"), ("impression", "text.impression"), ("statement", "text.stated"))
        ]
        told = re.search(r"loss [0-9.]+ \(([^)]*)\)", dry_run(config_of(tree)))
        assert told is not None
        losses.append({each.split()[0]: float(each.split()[1]) for each in told[1].split(", ")})
    # Of the first step's terms: they have the same positives and fewer negatives.
    assert all(losses[1][term] <= losses[0][term] for term in losses[0])
    assert all(
        any(losses[1][term] < losses[0][term] for term in losses[0] if term.startswith(f"of_{role}/"))
        for role in ("report", "statement")
    )
