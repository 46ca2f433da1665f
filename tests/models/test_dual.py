from __future__ import annotations

import copy

import pytest
import torch

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.sample import Batch, Column
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.encoders._text import encode_texts
from tests.models.words import DUAL, TEXT, VISION, HashWords, dual, images, pairs

EMBEDDINGS = Plan.of(keys("image/embedding", "text/embedding"))


def test_embedding_is_the_unit_length_projection_of_the_pooled_tower() -> None:
    model, batch = dual().eval(), pairs()
    out = model(batch, EMBEDDINGS)
    pooled = model.towers["image"](batch["image"].values, parts=frozenset({"pooled"})).pooled
    raw = pooled @ model.heads["image/raw"].output.weight.T
    torch.testing.assert_close(out["image"].part("raw"), raw)
    torch.testing.assert_close(out["image"].part("embedding"), raw / raw.norm(dim=1, keepdim=True))
    pooled = encode_texts(model.towers["text"], batch["text"].values, parts=frozenset({"pooled"})).pooled
    torch.testing.assert_close(out["text"].part("raw"), pooled @ model.heads["text/raw"].output.weight.T)


def test_image_tower_is_the_timm_backbone_after_mean_and_standard_deviation() -> None:
    model, batch = dual(vision={**VISION, "mean": [0.4], "std": [0.2]}).eval(), pairs()
    backbone = model.towers["image"].backbone
    by_hand = backbone((batch["image"].values - 0.4) / 0.2)
    torch.testing.assert_close(model(batch, Plan.of(keys("image/pooled")))["image"].pooled, by_hand)


@pytest.mark.parametrize("projection", [{"name": "projection", "hidden": 8}, {"name": "identity"}])
def test_a_mean_of_tokens_is_the_same_beside_any_other_text(projection: dict[str, object]) -> None:
    spec = {**DUAL, "projection": {**projection, "reads": "tokens", "mean": True}, "embed_dim": 16}
    model = build_model(spec, tokenizer=HashWords(), seed=0).eval()
    short, long = "left effusion", "no focal consolidation is seen in either lung and the heart is normal"
    plan = Plan.of(keys("text/raw"))
    single, both = (model(Batch.of({"text": texts}), plan)["text"].part("raw") for texts in ([short], [short, long]))
    torch.testing.assert_close(both[:1], single)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_tower_that_nothing_asks_for_is_not_called(kind: str) -> None:
    model = dual()
    calls: list[str] = []
    for name, tower in model.towers.items():
        tower.register_forward_hook(lambda *_, name=name: calls.append(name))
    out = model(pairs(), Plan.of(keys(f"{kind}/embedding")))
    assert calls == [kind]
    assert set(out) == {kind}


def test_only_what_the_plan_asks_for_leaves_the_model() -> None:
    out = dual()(pairs(), Plan.of(keys("image/tokens", "text/ids")))
    assert out["image"].parts() == ("tokens", "mask")
    assert out["image"].grid == (1, 1)
    assert out["text"].parts() == ("ids",)


def test_asking_for_token_ids_alone_does_not_run_the_text_transformer() -> None:
    model = dual()
    calls: list[int] = []
    model.towers["text"].trunk.register_forward_hook(lambda *_: calls.append(1))
    ids = model(pairs(["a b c", "d"]), Plan.of(keys("text/ids", "text/mask")))["text"]
    assert calls == []
    assert ids.part("ids").dtype == torch.int64
    assert ids.part("mask").tolist() == [[True, True, True], [True, False, False]]


def test_a_view_that_the_batch_lacks_is_one_row_without_owner() -> None:
    model = dual()
    out = model(Batch.of({"image": images(2)}), EMBEDDINGS)
    assert out["text"].owner.tolist() == [-1]
    assert out["text"].part("embedding").shape == (1, 8)
    assert out["image"].owner.tolist() == [0, 1]
    out = model(Batch.of({"text": ["a"]}), EMBEDDINGS)
    assert out["image"].owner.tolist() == [-1]
    assert out["image"].part("embedding").isfinite().all()


def test_a_column_without_rows_in_this_chunk_counts_as_absent() -> None:
    column = Column(("late",), torch.tensor([1]))
    batch = Batch(("a", "b"), torch.arange(2), {"image": Column(images(2), torch.arange(2)), "text": column})
    assert dual()(batch.take(0, 1), EMBEDDINGS)["text"].owner.tolist() == [-1]


def test_several_rows_of_a_sample_keep_their_owner_and_role_views_use_the_tower_of_their_kind() -> None:
    crops = Column(images(3), torch.tensor([0, 0, 1]))
    batch = Batch(("a", "b"), torch.arange(2), {"image": Column(images(2), torch.arange(2)), "image.local": crops})
    out = dual()(batch, Plan.of(keys("image/raw", "image.local/raw")))
    assert out["image.local"].owner.tolist() == [0, 0, 1]
    torch.testing.assert_close(out["image.local"].part("raw")[:2], out["image"].part("raw"))


@pytest.mark.parametrize(
    ("need", "sentence"),
    [
        (
            "image/tokans",
            r"Need 'image/tokans' cannot be computed: did you mean 'tokens'\? \(allowed: embedding, level\[0\], .*mask",
        ),
        (
            "image/attention",
            r"Need 'image/attention' cannot be computed: allowed are embedding, level\[0\], .*, pooled, raw, tokens\. "
            r"A part that is none of these comes of a head \(model\.heads\) or a patch\.",
        ),
        ("volume/raw", r"Need 'volume/raw' asks for a tower of kind 'volume': allowed are image, text"),
        ("bank.findngs/raw", r"Need 'bank.findngs/raw' asks for the bank 'findngs': did you mean 'findings'\?"),
    ],
)
def test_a_need_that_the_model_cannot_meet_is_refused_with_what_it_offers(need: str, sentence: str) -> None:
    model = dual()
    model.add_bank(Bank("findings", ("effusion",)))
    with pytest.raises(ConfigError, match=sentence):
        model.check(Plan.of(keys(need)))


def test_fields_teachers_and_states_are_none_of_the_models_business() -> None:
    dual().check(Plan.of(keys("label.effusion", "ema:image/whatever", "state:clusters")))


def test_a_part_that_was_not_planned_is_refused() -> None:
    out = dual()(pairs(), Plan.of(keys("image/raw")))
    with pytest.raises(ConfigError, match="Part 'pooled' was not planned and so not computed"):
        out["image"].part("pooled")


def test_float64_models_compute_in_float64() -> None:
    model, batch = dual().double(), pairs()
    out = model(batch, EMBEDDINGS)
    assert out["image"].part("embedding").dtype == torch.float64
    assert out["text"].part("embedding").dtype == torch.float64
    single = dual()(batch, EMBEDDINGS)
    torch.testing.assert_close(out["image"].part("embedding").float(), single["image"].part("embedding"))


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_stream_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = dual(seed=3).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    second = dual(seed=3).state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = dual(seed=4).state_dict()
    assert not torch.equal(first["heads.image/raw.output.weight"], other["heads.image/raw.output.weight"])


def test_another_text_tower_leaves_the_weights_of_the_image_tower_as_they_were() -> None:
    first, second = dual(), dual(text={**TEXT, "width": 32, "layers": 1})
    for name, value in first.towers["image"].state_dict().items():
        assert torch.equal(value, second.towers["image"].state_dict()[name])


def test_the_specification_of_a_model_builds_it_again() -> None:
    model = dual(heads={"image/regions": {"name": "pooler", "queries": 2}}, projection={"hidden": 12})
    again = build_model(model.spec, tokenizer=HashWords(), seed=9)
    again.load_state_dict(model.state_dict())
    plan, batch = Plan.of(keys("image/embedding", "image/regions", "text/raw")), pairs()
    first, second = model(batch, plan), again(batch, plan)
    assert torch.equal(first["image"].part("embedding"), second["image"].part("embedding"))
    assert torch.equal(first["image"].part("regions"), second["image"].part("regions"))
    assert again.spec == model.spec


def test_a_copy_of_a_model_shares_nothing_with_it() -> None:
    model, batch = dual().eval(), pairs()
    twin = copy.deepcopy(model)
    before = twin(batch, EMBEDDINGS)["text"].part("raw")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(twin(batch, EMBEDDINGS)["text"].part("raw"), before)


def test_banks_are_encoded_by_the_text_tower_and_belong_to_no_sample() -> None:
    model = dual()
    model.add_bank(Bank("findings", ("large effusion", "nodule")))
    out = model(pairs(), Plan.of(keys("bank.findings/embedding", "text/embedding")))
    assert out["bank.findings"].owner.tolist() == [-1, -1]
    same = model(pairs(["large effusion", "nodule"]), Plan.of(keys("text/embedding")))
    torch.testing.assert_close(out["bank.findings"].part("embedding"), same["text"].part("embedding"))


def test_a_bank_of_constant_vectors_is_not_encoded() -> None:
    model = dual()
    vectors = torch.tensor([[3.0, 4.0]])
    model.add_bank(Bank("findings", ("effusion",)).with_vectors(vectors, encoder="frozen@1234"))
    model.towers["text"].register_forward_hook(lambda *_: pytest.fail("the text tower ran"))
    out = model(pairs(), Plan.of(keys("bank.findings/embedding")))
    torch.testing.assert_close(out["bank.findings"].part("embedding"), torch.tensor([[0.6, 0.8]]))
    with pytest.raises(ConfigError, match="holds the constant vectors of 'frozen@1234'"):
        model.check(Plan.of(keys("bank.findings/tokens")))


# heads --------------------------------------------------------------------------------------------------------------


def test_a_declared_head_is_mounted_on_every_kind_that_needs_it_and_only_for_training() -> None:
    model = dual()
    plan = Plan.of(keys("image/proto", "text/proto", "text.negative/raw"))
    model.mount({"proto": HeadSpec("projection", {"reads": "raw", "width": 5})}, plan)
    assert model.training_only == {"image/proto", "text/proto"}
    out = model(pairs(), plan)
    raw = model(pairs(), EMBEDDINGS)["image"].part("raw")
    torch.testing.assert_close(out["image"].part("proto"), raw @ model.heads["image/proto"].output.weight.T)
    assert "image/proto" not in model.spec["heads"]


def test_a_head_that_another_head_reads_is_mounted_before_it() -> None:
    model = dual()
    plan = Plan.of(keys("image/guess"))
    heads = {
        "guess": HeadSpec("projection", {"reads": "proto", "width": 3}),
        "proto": HeadSpec("projection", {"reads": "raw", "width": 5}),
    }
    model.mount(heads, plan)
    assert set(model.heads) == {"image/raw", "text/raw", "image/guess", "image/proto"}
    assert model(pairs(), plan)["image"].part("guess").shape == (3, 3)


def test_mounting_the_same_head_again_keeps_its_weights_and_another_of_its_name_is_refused() -> None:
    model = dual()
    plan = Plan.of(keys("image/proto"))
    model.mount({"proto": HeadSpec("projection", {"width": 5})}, plan)
    head = model.heads["image/proto"]
    model.mount({"proto": HeadSpec("projection", {"width": 5})}, plan)
    assert model.heads["image/proto"] is head
    with pytest.raises(ConfigError, match="another head 'image/proto' is mounted already"):
        model.mount({"proto": HeadSpec("projection", {"width": 6})}, plan)


def test_a_head_that_a_score_reads_stays_in_the_bundle() -> None:
    model = dual()
    plan = Plan.of(keys("image/local", "text/local"))
    model.mount({"local": HeadSpec("projection", {"reads": "tokens"}, keep=True)}, plan)
    assert model.training_only == set()
    again = build_model(model.spec, tokenizer=HashWords())
    assert set(again.heads) == set(model.heads)
    assert model(pairs(), plan)["text"].part("local").shape == (3, 3, 8)


@pytest.mark.parametrize(
    ("heads", "needs", "sentence"),
    [
        ({"proto": HeadSpec("projection")}, ("image/raw",), "Head 'proto' is declared, but no need asks a view"),
        ({"proto": HeadSpec("projektion")}, ("image/proto",), "did you mean 'projection'"),
        (
            {"proto": HeadSpec("projection", {"hiden": 3})},
            ("image/proto",),
            "hiden is not a known key: did you mean 'hidden'",
        ),
        ({"volume/proto": HeadSpec("projection")}, ("image/raw",), "there is no tower of kind 'volume'"),
        ({"image/caption": HeadSpec("generator")}, ("image/raw",), "stage 'call' is mounted as a plain part"),
        (
            {"a": HeadSpec("projection", {"reads": "b"}), "b": HeadSpec("projection", {"reads": "a"})},
            ("image/a",),
            "heads read each other in a circle: image/a -> image/b -> image/a",
        ),
        (
            {
                "a": HeadSpec("projection", {"reads": "b"}),
                "b": HeadSpec("projection", {"hidden": 4, "norm": "batch", "stage": "batch"}),
            },
            ("image/a",),
            "it runs inside the tower and reads 'b', made after it",
        ),
    ],
)
def test_faulty_heads_are_refused_with_a_sentence(heads: dict, needs: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        dual().mount(heads, Plan.of(keys(*needs)))


def test_batch_stage_heads_run_in_finish_on_all_rows_and_their_parameters_are_outside_forward() -> None:
    model, batch = dual(), pairs()
    plan = Plan.of(keys("image/proto", "image/guess"))
    heads = {
        "proto": HeadSpec("projection", {"reads": "raw", "hidden": 4, "width": 6, "norm": "batch", "stage": "batch"}),
        "guess": HeadSpec("projection", {"reads": "proto", "width": 2, "stage": "batch"}),
        "words": HeadSpec("generator", {"width": 8, "layers": 1, "heads": 2}),
    }
    model.mount(heads, plan)
    towers = model(batch, plan)
    assert towers["image"].parts() == ("raw", "embedding")
    done = model.finish(towers, plan)["image"]
    assert done.part("guess").shape == (3, 2)
    proto = done.part("proto")
    torch.testing.assert_close(done.part("guess"), proto @ model.heads["image/guess"].output.weight.T)
    outside = model.outside_forward()
    assert "logit_scale.log_scale" in outside
    assert {name.split(".")[1] for name in outside if name.startswith("heads.")} == {
        "image/proto",
        "image/guess",
        "words",
    }
    model(batch, Plan.of(keys("image/raw", "text/raw")))["image"].part("raw").sum().backward()
    assert all(dict(model.named_parameters())[name].grad is None for name in outside)


def test_batch_stage_heads_take_what_autocast_left_in_half_precision() -> None:
    model, batch = dual(), pairs()
    plan = Plan.of(keys("image/proto"))
    model.mount({"proto": HeadSpec("projection", {"reads": "raw", "stage": "batch"})}, plan)
    with torch.autocast("cpu", torch.bfloat16):
        towers = model(batch, plan)
    assert towers["image"].part("raw").dtype == torch.bfloat16
    assert model.finish(towers, plan)["image"].part("proto").dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"vision": {**VISION, "architecture": "resnet81"}},
            "timm has no architecture 'resnet81': use one .* resnet18",
        ),
        ({"vision": {"name": "tim"}}, r"There is no models/encoders component named 'tim': did you mean 'timm'\?"),
        ({"vision": TEXT}, "model.vision: 'transformer' encodes text and not image"),
        ({"text": {**TEXT, "widht": 3}}, r"model.text.widht is not a known key: did you mean 'width'\?"),
        ({"embed_dim": 0}, "model.embed_dim is 0: input should be greater than or equal to 1"),
        ({"scale": {"innit": 1}}, r"model.scale.innit is not a known key: did you mean 'init'\?"),
        ({"scale": {"init": 101.0}}, "scale.init is 101.0: choose a number above 0 and not above scale.max, 100.0"),
        ({"text": {**TEXT, "heads": 5}}, "5 attention heads do not divide the width 16"),
    ],
)
def test_faulty_specifications_are_refused_with_a_sentence(change: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        dual(**change)


def test_a_text_tower_without_tokenizer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.text needs a tokenizer"):
        build_model(DUAL, tokenizer=None)
