from __future__ import annotations

import numpy as np
import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, DataError, FeatureTable, Part, collectives
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.features.prototypes import clean_labels, moved
from medvlp.state.class_prototypes import ClassPrototypes

NAN = float("nan")
KEY = "image/embedding"
NAMES = ["effusion", "nodule"]


def drawn(step: int, count: int = 6) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(step)
    values = torch.tensor([1.0, 0.0, -1.0, NAN])
    labels = {name: values[torch.randint(4, (count,), generator=generator)] for name in NAMES}
    return torch.randn(count, 3, generator=generator), labels


def context(rows, labels, *, samples_seen: int = 0, trusted=None, ids=None) -> Context:
    fields = {f"label.{name}": torch.as_tensor(values) for name, values in labels.items()}
    if trusted is not None:
        fields["number.trusted"] = torch.as_tensor(trusted)
    parts = {parse_key(KEY): Part(rows, torch.arange(len(rows)))}
    batch = Batch.of(fields)
    if ids is not None:
        batch = Batch(tuple(ids), batch.positions, batch.columns)
    return Context(parts=parts, batch=batch, samples_seen=samples_seen)


def step(state: ClassPrototypes, *args, **options) -> None:
    state.observe(context(*args, **options))
    state.after_step(None, 0)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.999])
def test_each_labelled_sample_moves_its_prototype_one_after_the_other(momentum):
    state = ClassPrototypes(labels=NAMES, momentum=momentum)
    expected = torch.zeros(2, 2, 3, dtype=torch.float64)
    for number in range(4):
        rows, labels = drawn(number)
        for i, row in enumerate(unit(rows).double()):
            for j, name in enumerate(NAMES):
                for c in (0, 1):
                    if labels[name][i] == c:
                        expected[j, c] = momentum * expected[j, c] + (1 - momentum) * row
        expected = unit(expected)
        step(state, rows, labels)
        torch.testing.assert_close(state.prototypes, expected.float(), rtol=1e-5, atol=1e-6)
    counts = [[sum(int((drawn(n)[1][name] == c).sum()) for n in range(4)) for c in (0, 1)] for name in NAMES]
    assert state.seen.tolist() == counts


def test_a_classifier_has_half_a_say_in_what_is_cleaned():
    """CAPro: half of the probability is the classifier's. Own labels stay from 1/2, others come from 0.6."""
    state = ClassPrototypes(labels=NAMES, predictions="image/findings", clean_from=0, temperature=0.5)
    state.prototypes = unit(torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(1)))
    rows, labels = drawn(0, 60)
    ctx, logits = context(rows, labels), 2 * torch.randn(60, 2, generator=torch.Generator().manual_seed(2))
    ctx.parts = {**ctx.parts, parse_key("image/findings"): Part(logits, torch.arange(60))}
    found, outcomes = state.targets(ctx, unit(rows), KEY), set()
    for i, row in enumerate(unit(rows)):
        for j, name in enumerate(NAMES):
            label = float(labels[name][i])
            near = (state.prototypes[j] @ row / 0.5).softmax(dim=0)
            present = 0.5 * float(logits[i, j].sigmoid()) + 0.5 * float(near[1])
            own = present if label == 1 else 1 - present
            expected, outcome = (label, "stays") if own >= 0.5 else (NAN, "dropped")
            if own <= 0.4:
                expected, outcome = 1 - label, "turned"
            if label not in (0.0, 1.0):
                expected, outcome = NAN, "none"
            assert found[i, j].item() == pytest.approx(expected, nan_ok=True)
            outcomes.add(outcome)
    assert outcomes == {"stays", "turned", "dropped", "none"}


def test_a_prototype_without_a_sample_stays_as_it_is():
    start = unit(torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0)))
    member = torch.tensor([[[True, False]], [[True, False]]])
    got = moved(start, torch.eye(3)[:2], member, momentum=0.9)
    assert torch.equal(got[0, 1], start[0, 1])
    assert not torch.equal(got[0, 0], start[0, 0])


def test_a_refresh_is_the_mean_of_the_labelled_and_of_the_trusted_where_there_are_any():
    rows, labels = drawn(0, 40)
    columns = {KEY: rows.numpy(), **{f"label.{n}": v.numpy() for n, v in labels.items()}}
    ids = [str(i) for i in range(40)]
    state = ClassPrototypes(labels=NAMES)
    state.refresh(FeatureTable(ids, columns))
    for j, name in enumerate(NAMES):
        for c in (0, 1):
            torch.testing.assert_close(state.prototypes[j, c], unit(unit(rows)[labels[name] == c].mean(0)))
    trusted = torch.zeros(40)
    trusted[labels["effusion"] == 1] = (torch.arange(int((labels["effusion"] == 1).sum())) % 2).float()
    state = ClassPrototypes(labels=["effusion"], trusted="number.trusted")
    state.refresh(FeatureTable(ids, {**columns, "number.trusted": trusted.numpy()}))
    chosen = (labels["effusion"] == 1) & (trusted == 1)
    torch.testing.assert_close(state.prototypes[0, 1], unit(unit(rows)[chosen].mean(0)))
    torch.testing.assert_close(state.prototypes[0, 0], unit(unit(rows)[labels["effusion"] == 0].mean(0)))


def test_anchors_stand_still():
    rows, labels = drawn(1, 40)
    state = ClassPrototypes(labels=NAMES, momentum=1.0)
    state.refresh(
        FeatureTable(
            list("ab"),
            {KEY: np.eye(2, 3, dtype=np.float32)}
            | {f"label.{name}": np.array([1.0, 0.0], np.float32) for name in NAMES},
        )
    )
    before = state.prototypes.clone()
    step(state, rows, labels)
    assert torch.equal(state.prototypes, before)


def test_a_steps_objective_sees_them_as_they_were_and_a_skipped_step_moves_none():
    state = ClassPrototypes(labels=NAMES)
    rows, labels = drawn(0)
    state.observe(context(rows, labels))
    assert not state.founded.any()
    other = ClassPrototypes(labels=NAMES)
    state.observe(context(*drawn(1)))  # the first step was not taken
    state.after_step(None, 0)
    step(other, *drawn(1))
    assert torch.equal(state.prototypes, other.prototypes)


# labels that may be wrong -------------------------------------------------------------------------------------------


def world(noise: float, *, n: int = 400, seed: int = 0):
    """Two groups on a sphere, their truth, and labels of which a part is turned."""
    generator = torch.Generator().manual_seed(seed)
    truth = (torch.rand(n, generator=generator) < 0.5).float()
    rows = unit(torch.randn(n, 16, generator=generator) * 0.35 + torch.where(truth[:, None] == 1, 1.0, -1.0))
    wrong = torch.rand(n, generator=generator) < noise
    return rows, truth, torch.where(wrong, 1 - truth, truth)


def cleaned(state: ClassPrototypes, rows, given, **options) -> torch.Tensor:
    for _ in range(5):
        step(state, rows, {"effusion": given}, **options)
    return state.targets(context(rows, {"effusion": given}, **options), rows, KEY)[:, 0]


def test_without_noise_nothing_is_relabelled():
    rows, truth, given = world(0.0)
    assert torch.equal(cleaned(ClassPrototypes(labels=["effusion"], clean_from=0), rows, given), truth)


def test_of_noisy_labels_the_cleaned_are_right_more_often():
    rows, truth, given = world(0.4)
    got = cleaned(ClassPrototypes(labels=["effusion"], clean_from=0, momentum=0.999), rows, given)
    there = got.isfinite()
    assert (given == truth).float().mean() < 0.65
    assert (got[there] == truth[there]).float().mean() > 0.98
    assert there.float().mean() > 0.9


def test_trusted_labels_and_sure_ones_never_change():
    rows, _, given = world(0.4)
    trusted = torch.zeros(len(given))
    trusted[::3] = 1
    state = ClassPrototypes(labels=["effusion"], clean_from=0, momentum=0.999, trusted="number.trusted")
    got = cleaned(state, rows, given, trusted=trusted)
    assert torch.equal(got[::3], given[::3])
    assert (got != given).any()
    # A bag without the finding has none in its instances; one with it has it in some.
    got = cleaned(ClassPrototypes(labels=["effusion"], clean_from=0, momentum=0.999, sure="absent"), rows, given)
    assert (got[given == 0] == 0).all()
    assert (got[given == 1] == 0).any()
    got = cleaned(ClassPrototypes(labels=["effusion"], clean_from=0, momentum=0.999, sure="present"), rows, given)
    assert (got[given == 1] == 1).all()


@pytest.mark.parametrize("options", [{}, {"follow": 0.5}], ids=str)
def test_instances_of_positive_bags_find_their_own_labels(options):
    """A fifth of a positive bag's instances have the finding; all of them begin with the label of the bag."""
    bag, truth, rows = bags()
    state = ClassPrototypes(labels=["effusion"], clean_from=100, momentum=0.99, sure="absent", **options)
    for seen in range(0, 3000, 100):
        part = torch.arange(seen, seen + 100) % 1000
        named = [f"s{i}" for i in part.tolist()]
        step(state, rows[part], {"effusion": bag[part]}, samples_seen=seen, ids=named)
    every = [f"s{i}" for i in range(1000)]
    got = state.targets(context(rows, {"effusion": bag}, samples_seen=3000, ids=every), rows, KEY)[:, 0]
    there = got.isfinite()
    assert (got[bag == 0] == 0).all()  # what is surely absent never leaves its class
    assert (bag == truth)[bag == 1].float().mean() < 0.3
    assert ((got > 0.5) == truth.bool())[there & (bag == 1)].float().mean() > 0.95
    score = state.scores(rows)[:, 0, 1] - state.scores(rows)[:, 0, 0]
    ranks = score.argsort().argsort().float() + 1
    positives = int(truth.sum())
    auroc = (ranks[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * (1000 - positives))
    assert auroc > 0.98


def bags() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels of a hundred bags for their ten instances each, what the instances have, and their rows."""
    generator = torch.Generator().manual_seed(1)
    bag = (torch.arange(100) % 2).float().repeat_interleave(10)
    truth = bag * (torch.rand(1000, generator=generator) < 0.2)
    middle = torch.randn(2, 16, generator=generator)
    rows = unit(middle[truth.long()] + 0.5 * torch.randn(1000, 16, generator=generator))
    return bag, truth, rows


def test_beliefs_follow_what_prototypes_say_one_row_after_the_other():
    """s <- f s + (1 - f) vote, from the label on; two rows of a sample count twice, sure and unlabelled ones never."""
    state = ClassPrototypes(labels=["effusion"], clean_from=10, momentum=1.0, follow=0.8, trusted="number.trusted")
    state.refresh(table([[1.0, 0.0], [0.0, 1.0]], [0.0, 1.0], trusted=[0.0, 0.0]))
    rows = torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [1.0, 0.0], [1.0, 0.0]])
    told = [1.0, 1.0, 0.0, 1.0, NAN]
    given = {"trusted": [0.0, 0.0, 0.0, 1.0, 0.0], "ids": ["a", "a", "b", "c", "d"]}
    early = context(rows, {"effusion": told}, samples_seen=9, **given)
    state.observe(early)
    state.after_step(None, 0)
    assert state.targets(early, unit(rows), KEY)[:4, 0].tolist() == told[:4]
    believed = {"a": 1.0, "b": 0.0}
    for _ in range(3):
        ctx = context(rows, {"effusion": told}, samples_seen=10, **given)
        state.observe(ctx)
        before = state.targets(ctx, unit(rows), KEY)[:, 0]
        assert before[:3].tolist() == pytest.approx([believed["a"], believed["a"], believed["b"]])
        state.after_step(None, 0)
        believed["a"] *= 0.8**2  # both rows look absent
        believed["b"] = 0.8 * believed["b"] + 0.2
    after = state.targets(ctx, unit(rows), KEY)[:, 0]
    assert after[3] == 1.0  # trusted
    assert after[4].isnan()  # nothing was said of it


def table(rows, labels, *, trusted) -> FeatureTable:
    columns = {KEY: rows, "label.effusion": labels, "number.trusted": trusted}
    named = {name: np.asarray(values, np.float32) for name, values in columns.items()}
    return FeatureTable([f"t{i}" for i in range(len(rows))], named)


@pytest.mark.parametrize("momentum", [0.9, 1.0])
def test_density_is_the_mean_distance_over_the_log_of_the_count(momentum):
    generator = torch.Generator().manual_seed(2)
    start = unit(torch.randn(8, 3, generator=generator))
    labels = [0.0, 1.0] * 4
    state = ClassPrototypes(labels=["effusion"], momentum=momentum)
    assert torch.equal(state.density, torch.full((1, 2), 0.1))  # nothing is known of it yet
    state.refresh(table(start.tolist(), labels, trusted=[0.0] * 8))
    mean, seen = [0.0, 0.0], [4, 4]
    for c in (0, 1):
        mean[c] = (start[c::2] - state.prototypes[0, c]).norm(dim=1).mean().item()
        assert state.density[0, c].item() == pytest.approx(mean[c] / np.log(4 + 10), rel=1e-5)
    rows = unit(torch.randn(3, 3, generator=generator))
    step(state, rows, {"effusion": [1.0, 0.0, 1.0]})
    for row, c in zip(rows, (1, 0, 1), strict=True):
        mean[c] = momentum * mean[c] + (1 - momentum) * (row - state.prototypes[0, c]).norm().item()
        seen[c] += 1
    for c in (0, 1):
        assert state.density[0, c].item() == pytest.approx(mean[c] / np.log(seen[c] + 10), rel=1e-5)


@pytest.mark.parametrize("by", ["refresh", "step"])
def test_a_single_sample_does_not_make_its_prototype_sharp(by):
    """It lies on its prototype whatever the finding looks like; the second sample is the first to tell a distance."""
    state, first = ClassPrototypes(labels=["effusion"], momentum=0.9), torch.eye(3)[:1]
    if by == "refresh":
        state.refresh(table(first.tolist(), [1.0], trusted=[0.0]))
    else:
        step(state, first, {"effusion": [1.0]})
    assert state.density[0, 1].item() == pytest.approx(0.1)
    second = torch.eye(3)[1:2]
    step(state, second, {"effusion": [1.0]})
    distance = (second[0] - state.prototypes[0, 1]).norm().item()
    assert state.density[0, 1].item() == pytest.approx(distance / np.log(2 + 10), rel=1e-5)


def test_cleaning_waits_for_its_time_and_for_both_prototypes():
    rows, _, given = world(0.4)
    state = ClassPrototypes(labels=["effusion"], clean_from=100, momentum=0.999)
    assert torch.equal(cleaned(state, rows, given, samples_seen=99), given)
    assert not torch.equal(cleaned(state, rows, given, samples_seen=100), given)
    alone = ClassPrototypes(labels=["effusion"], clean_from=0)
    assert (cleaned(alone, rows, torch.ones(len(rows))) == 1).all()


def test_uncertain_and_missing_labels_are_no_targets():
    state = ClassPrototypes(labels=["effusion"])
    got = state.targets(context(torch.eye(4), {"effusion": [1.0, 0.0, -1.0, NAN]}), torch.eye(4), KEY)
    assert got[:2, 0].tolist() == [1.0, 0.0]
    assert got[2:].isnan().all()


@pytest.mark.parametrize(
    ("label", "probability", "expected"),
    [(1, 0.5, 1), (1, 0.49, NAN), (1, 0.39, 0), (0, 0.5, 0), (0, 0.59, NAN), (0, 0.61, 1), (NAN, 0.9, NAN)],
)
def test_a_label_stays_turns_or_is_dropped(label, probability, expected):
    got = clean_labels(
        torch.tensor([float(label)]).double(), torch.tensor([probability]).double(), keep=0.5, relabel=0.6
    )
    torch.testing.assert_close(got, torch.tensor([float(expected)]).double(), equal_nan=True)


@pytest.mark.parametrize(("probability", "expected"), [(0.39, 0), (0.3, 0), (0.41, 1), (0.1, 0)])
def test_a_label_that_the_other_one_beats_turns_however_little_is_asked_of_one_that_stays(probability, expected):
    """CAPro's and FoPro's correction comes first: with a small `keep`, `relabel` has its effect all the same."""
    got = clean_labels(torch.ones(1), torch.tensor([probability]), keep=0.05, relabel=0.6)
    assert got.tolist() == [expected]
    even = clean_labels(torch.ones(1), torch.tensor([0.5]), keep=0.5, relabel=0.5)
    assert even.tolist() == [1]  # neither is likelier


# checkpoints and processes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"follow": 0.5, "clean_from": 0}], ids=str)
def test_saved_they_go_on_bit_for_bit(options):
    whole, first, second = (ClassPrototypes(labels=NAMES, **options) for _ in range(3))
    for number in range(4):
        step(whole, *drawn(number))
    for number in range(2):
        step(first, *drawn(number))
    second.load_state_dict(first.state_dict())
    for number in range(2, 4):
        step(second, *drawn(number))
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], tensor, rtol=0, atol=0, equal_nan=True)


def followed(bounds: list[int], options: dict) -> dict:
    state = ClassPrototypes(labels=NAMES, clean_from=12, **options)
    begin, end = bounds[collectives.rank()], bounds[collectives.rank() + 1]
    rows, labels = drawn(9)
    columns = {KEY: rows.numpy(), **{f"label.{n}": v.numpy() for n, v in labels.items()}}
    state.refresh(FeatureTable(list("abcdef"), columns).rows(np.arange(begin, end)))
    for number in range(5):
        rows, labels = drawn(number)
        own = {n: v[begin:end] for n, v in labels.items()}
        step(state, rows[begin:end], own, samples_seen=6 * number, ids=list("abcdef")[begin:end])
    return state.state_dict()


@pytest.mark.pool
@pytest.mark.parametrize("options", [{}, {"follow": 0.5}], ids=str)
def test_one_process_is_two_is_four(pool, options):
    expected = followed([0, 6], options)
    assert not options or len(expected["believed"]) == 6
    for bounds in ([0, 3, 6], [0, 1, 6], [0, 1, 1, 4, 6]):
        for got in pool.run(len(bounds) - 1, followed, bounds, options):
            for name, tensor in expected.items():
                torch.testing.assert_close(got[name], tensor, rtol=0, atol=1e-6, equal_nan=True)


def test_what_is_refused():
    for labels in ([], ["nodule", "nodule"]):
        with pytest.raises(ConfigError, match="names no finding, or one twice: name each once"):
            ClassPrototypes(labels=labels)
    with pytest.raises(ConfigError, match="follow of state 'class_prototypes' needs clean_from: say from which sample"):
        ClassPrototypes(labels=NAMES, follow=0.9)
    state = ClassPrototypes(labels=NAMES)
    with pytest.raises(DataError, match=r"come with beliefs of samples and the configuration has none, or the other"):
        state.load_state_dict(ClassPrototypes(labels=NAMES, clean_from=0, follow=0.9).state_dict())
    with pytest.raises(DataError, match="saved prototypes are of 1 findings, not of 2: resume with the configuration"):
        state.load_state_dict(ClassPrototypes(labels=["nodule"]).state_dict())
