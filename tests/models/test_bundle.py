"""A release: everything that scoring needs, nothing that training alone needs, every byte under a hash."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from medvlp.core import Plan, UserError
from medvlp.core.files import sha256_of
from medvlp.core.keys import keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.sample import Batch
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, check_manifest, load_bundle, load_model, save_bundle
from medvlp.models.patches import apply_patches
from medvlp.text.wordpiece import train_wordpiece
from tests.models.words import DUAL, images

TEXTS = ["large left effusion", "no effusion", "nodule in the right lung", "clear lungs"]
WORDS = train_wordpiece(TEXTS * 3, vocab_size=128, max_length=16)
ASKED = StoredAnswer(
    name="findings",
    component="zero_shot",
    options={"prompts": [{"name": "v1", "label": "effusion", "positive": ["a"], "negative": ["b"]}]},
    labels=["effusion"],
    score={"name": "gated", "width": 2},
    weights={"gate.weight": torch.tensor([[1.0, 2.0]]), "gate.bias": torch.tensor([3.0])},
    operating_points={"data": "abc", "findings": {"effusion": {"youden": {"threshold": 0.4}}}, "conformal": {}},
    calibration={"data": "abc", "map": "platt", "findings": {}},
)
PLAN = Plan.of(keys("image/embedding", "text/embedding", "image/local", "bank.words/embedding"))


def trained(**changes: Any) -> Any:
    """A model with a batch head, a bank, a patch, a head that the score reads and one that only training needs."""
    spec = {**DUAL, "projection": {"hidden": 12, "norm": "batch", "stage": "batch"}, **changes}
    model: Any = build_model(spec, tokenizer=WORDS, banks={"words": Bank("words", ("effusion", "nodule"))}, seed=3)
    heads = {"captioner": HeadSpec("generator", {"width": 16, "layers": 1, "heads": 2})}
    local = HeadSpec("projection", {"reads": "tokens", "width": 4}, keep=True)
    model.mount({**heads, "image/local": local}, PLAN)
    apply_patches(model, [{"name": "lora", "kind": "text", "on": "linear[*]", "rank": 2}])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in [*model.parameters(), *(b for n, b in model.named_buffers() if "running" in n)]:
            tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    return model


def bundle_of(model: Any, **changes: Any) -> Bundle:
    return Bundle(**{"model": model, "tokenizer": WORDS, "preprocessing": [{"name": "read", "size": 32}], **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "bundle", bundle_of(trained(), card="# Card\n", answers=(ASKED,)))
    return tmp_path / "bundle"


def outputs(model: Any) -> dict[str, torch.Tensor]:
    batch = Batch.of({"image": images(4), "text": TEXTS})
    with torch.no_grad():
        encoded = model.eval().finish(model(batch, PLAN), PLAN)
    return {f"{key}": encoded[key.view].part(key.part) for key in PLAN.needs}


def test_what_comes_back_computes_the_same_bit_for_bit(folder: Path) -> None:
    expected, got = outputs(trained()), outputs(load_model(folder))
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[key], got[key]) for key in expected)


def test_what_comes_back_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text  # as where the locale is Latin-1
    latin = lambda self, text, encoding="latin-1", **more: write(self, text, encoding=encoding, **more)  # noqa: E731
    monkeypatch.setattr(Path, "write_text", latin)
    facts = {
        "provenance": {"recipe": "abc", "synthetic": True},
        "card": "# Card, ä\n\n## Probabilities and thresholds\n\nMy words.\n",
    }
    plain = StoredAnswer("retrieval", "retrieval")
    save_bundle(tmp_path / "b", bundle_of(trained(), **facts, answers=(ASKED, plain)))
    back = load_bundle(tmp_path / "b")
    assert {name: getattr(back, name) for name in facts} == facts
    assert [each.described() for each in back.answers] == [ASKED.described(), plain.described()]
    assert back.labels == ("effusion",)
    first, second = (each.weights for each in back.answers)
    assert {name: tensor.tolist() for name, tensor in first.items()} == {
        name: tensor.tolist() for name, tensor in ASKED.weights.items()
    }
    assert second == {}
    assert back.preprocessing == [{"name": "read", "size": 32}]
    assert torch.equal(back.tokenizer(TEXTS).ids, WORDS(TEXTS).ids)
    assert not any(module.training for module in back.model.modules())
    described = yaml.safe_load((tmp_path / "b" / "bundle.yaml").read_text())
    assert {"answers", "ood", "text_cache"} <= described.keys()
    assert all({"operating_points", "calibration", "score", "labels"} <= each.keys() for each in described["answers"])
    assert described["banks"]["words"]["sha256"] == Bank("words", ("effusion", "nodule")).sha256


def test_a_bundle_of_a_bundle_is_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    save_bundle(tmp_path / "again", load_bundle(folder))
    assert (tmp_path / "again" / "MANIFEST.sha256").read_text() == (folder / "MANIFEST.sha256").read_text()


def test_heads_of_training_alone_are_left_out_and_those_that_a_score_reads_are_kept(folder: Path) -> None:
    names = set(load_file(folder / "model.safetensors"))
    assert not any(name.startswith("heads.captioner.") for name in names)
    assert any(name.startswith("heads.image/local.") for name in names)
    assert any(name.startswith("patches.") for name in names)


def test_it_holds_data_only_and_verifies_with_sha256sum(folder: Path) -> None:
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".yaml", ".json", ".md", ".sha256"}
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not at hand")
    ran = subprocess.run(["sha256sum", "--check", "--strict", "MANIFEST.sha256"], cwd=folder, capture_output=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    "name", ["model.safetensors", "scores.safetensors", "bundle.yaml", "card.md", "tokenizer/tokenizer.json"]
)
def test_a_changed_or_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    sentence = rf"{name} is damaged or was changed since it was released .*: get the bundle again"
    with pytest.raises(UserError, match=sentence):
        load_bundle(folder)
    path.unlink()
    with pytest.raises(
        UserError, match=rf"{name} is listed in MANIFEST\.sha256 and is not there: get the bundle again"
    ):
        load_bundle(folder)


def test_a_file_that_loading_would_read_unlisted_is_refused(folder: Path) -> None:
    manifest = folder / "MANIFEST.sha256"
    listed = manifest.read_text()
    (folder / "tokenizer" / "extra.json").write_text("{}")
    with pytest.raises(UserError, match=r"does not list tokenizer/extra\.json: get the bundle again"):
        check_manifest(folder)
    (folder / "tokenizer" / "extra.json").unlink()
    manifest.write_text("".join(line for line in listed.splitlines(keepends=True) if "tokenizer" not in line))
    with pytest.raises(UserError, match=r"does not list tokenizer/tokenizer\.json, tokenizer/tokenizer\.yaml"):
        check_manifest(folder)
    manifest.write_text("".join(line for line in listed.splitlines(keepends=True) if "scores" not in line))
    with pytest.raises(UserError, match=r"does not list scores\.safetensors: get the bundle again"):
        check_manifest(folder)
    manifest.write_text("")
    with pytest.raises(UserError, match=r"does not list bundle\.yaml, card\.md, model\.safetensors, scores"):
        check_manifest(folder)


def test_a_manifest_that_leaves_the_folder_is_refused(folder: Path) -> None:
    outside = folder.parent / "secret"
    outside.write_text("x")
    with open(folder / "MANIFEST.sha256", "a") as handle:
        handle.write(f"{sha256_of(outside)}  ../secret\n")
    with pytest.raises(UserError, match=r"\.\./secret lies out of the bundle, which no file of it may: get the bundle"):
        check_manifest(folder)


def test_a_link_out_of_the_folder_is_refused_though_its_bytes_are_right(folder: Path) -> None:
    (folder / "card.md").rename(folder.parent / "card.md")
    (folder / "card.md").symlink_to(folder.parent / "card.md")
    with pytest.raises(UserError, match=r"card\.md is a link that leads out of the bundle, which no file of it may"):
        check_manifest(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "schema: !!python/object/apply:os.system ['touch pwned']\n",
            "cannot be read as YAML .could not determine a constr",
        ),
        ("- 1\n", "holds no mapping at its top: get the bundle again"),
        ("[" * 5000, "cannot be read as YAML .while increasing flow level"),
    ],
)
def test_a_description_that_is_not_plain_data_is_one_sentence(
    folder: Path, text: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    manifest, before = folder / "MANIFEST.sha256", sha256_of(folder / "bundle.yaml")
    (folder / "bundle.yaml").write_text(text)
    manifest.write_text(manifest.read_text().replace(before, sha256_of(folder / "bundle.yaml")))
    with pytest.raises(UserError, match=sentence):
        load_bundle(folder)
    assert not (folder.parent / "pwned").exists()


def test_whoever_may_read_the_folder_may_read_its_weights(folder: Path) -> None:
    assert len({path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}) == 1


def test_a_run_that_is_named_for_its_bundle_is_told(folder: Path) -> None:
    folder.rename(folder.parent / "bundle")
    with pytest.raises(UserError, match=r"is not a bundle \(it has no MANIFEST\.sha256\): did you mean .*/bundle\?"):
        check_manifest(folder.parent)


def test_no_bundle_at_all_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a bundle \(it has no MANIFEST\.sha256\): name a folder"):
        load_bundle(tmp_path)


def sign(folder: Path) -> None:
    """Write the manifest anew, as somebody who edits a bundle on purpose would."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "MANIFEST.sha256")
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / "MANIFEST.sha256").write_text("".join(lines))


def test_a_later_schema_and_weights_that_do_not_fit_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("logit_scale.log_scale")
    save_file(weights, folder / "model.safetensors")
    sign(folder)
    with pytest.raises(UserError, match=r"do not fit the architecture .*1 differ, the first is 'logit_scale"):
        load_bundle(folder)
    described = yaml.safe_load((folder / "bundle.yaml").read_text())
    (folder / "bundle.yaml").write_text(yaml.safe_dump({**described, "schema": "medvlp.bundle/9"}))
    sign(folder)
    with pytest.raises(UserError, match=r"has the schema 'medvlp\.bundle/9', this version reads .*: update medvlp"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model", None, "bundle.yaml lacks 'model'"),
        ("answers", None, "bundle.yaml lacks 'answers'"),
        ("provenance", None, "bundle.yaml lacks 'provenance'"),
        ("model", 3, "'int' object is not iterable"),
        ("banks", ["words"], "'list' object has no attribute 'items'"),
        ("answers", [{"component": "zero_shot"}], "bundle.yaml lacks 'name'"),
        ("answers", [{"name": "a", "component": "zero_shot", "of_later": 1}], ".* unexpected keyword .* 'of_later'"),
        ("ood", {"schema": "medvlp.gate/1", "limits": {}, "pictures": [3]}, "bundle.yaml lacks 'rate'"),
        ("seen", "all", "'str' object has no attribute 'get'"),
    ],
)
def test_a_description_that_holds_other_things_in_their_places_is_refused_with_the_bundles_name(
    folder: Path, key: str, value: Any, said: str
) -> None:
    """Somebody's own edit, or what a later version writes."""
    described = {**yaml.safe_load((folder / "bundle.yaml").read_text()), key: value}
    plain = {name: each for name, each in described.items() if name != key or value is not None}
    (folder / "bundle.yaml").write_text(yaml.safe_dump(plain))
    sign(folder)
    with pytest.raises(UserError, match=rf"^The bundle \S+ cannot be read: {said}\. Get the bundle again, or update"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("tower", "asked"),
    [("text", {"name": "transformers", "path": "somebody/else"}), ("vision", {"name": "timm", "pretrained": True})],
)
def test_weights_that_are_no_file_of_the_bundle_are_not_fetched(
    folder: Path, tower: str, asked: dict[str, Any]
) -> None:
    described = yaml.safe_load((folder / "bundle.yaml").read_text())
    described["model"][tower] |= asked
    (folder / "bundle.yaml").write_text(yaml.safe_dump(described))
    sign(folder)
    with pytest.raises(UserError, match=r"bundle takes weights from elsewhere \((path|pretrained)\), which no bundle"):
        load_bundle(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["logit_scale.log_scale"] = torch.zeros(2)
    save_file(weights, folder / "model.safetensors")
    sign(folder)
    with pytest.raises(UserError, match=r"do not fit the architecture .*1 differ, the first is 'logit_scale"):
        load_bundle(folder)


_FULL = """
import resource, sys
from pathlib import Path
from medvlp.core.errors import UserError
from medvlp.models.bundle import load_bundle, save_bundle
folder = Path(sys.argv[1])
bundle = load_bundle(folder)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # no file may grow beyond: the kernel refuses the write
try:
    save_bundle(folder, bundle)
except UserError as error:
    sys.exit(f"told: {error}")
"""


@pytest.mark.slow
def test_two_commands_that_write_one_bundle_leave_a_whole_one(tmp_path: Path) -> None:
    """While the first writes its words, the second begins and ends."""
    first, second = bundle_of(trained(), card="# First\n"), bundle_of(trained(), card="# Second\n")
    ended: list[int | None] = []

    class Words:
        def save(self, folder: Path) -> None:
            other = multiprocessing.get_context("fork").Process(target=save_bundle, args=(tmp_path / "b", second))
            other.start()
            other.join()
            ended.append(other.exitcode)
            WORDS.save(folder)

    save_bundle(tmp_path / "b", replace(first, tokenizer=Words()))
    assert ended == [0]
    assert load_bundle(tmp_path / "b").card == "# First\n"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.slow
def test_a_disk_without_room_leaves_the_older_bundle(folder: Path) -> None:
    before = (folder / "MANIFEST.sha256").read_text()
    ran = subprocess.run([sys.executable, "-c", _FULL, str(folder)], capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.startswith("told: The disk is full: ")
    check_manifest(folder)
    assert (folder / "MANIFEST.sha256").read_text() == before
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]
