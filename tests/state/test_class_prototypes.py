from __future__ import annotations

import numpy as np
import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, DataError, FeatureTable, Part, collectives
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.state import ClassPrototypes
from medvlp.state.class_prototypes import clean_labels, moved

NAN = float("nan")
KEY = "image/embedding"
NAMES = ["effusion", "nodule"]


def drawn(step: int, count: int = 6) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(step)
    values = torch.tensor([1.0, 0.0, -1.0, NAN])
    labels = {name: values[torch.randint(4, (count,), generator=generator)] for name in NAMES}
    return torch.randn(count, 3, generator=generator), labels


def context(rows, labels, *, samples_seen: int = 0, trusted=None) -> Context:
    fields = {f"label.{name}": torch.as_tensor(values) for name, values in labels.items()}
    if trusted is not None:
        fields["number.trusted"] = torch.as_tensor(trusted)
    parts = {parse_key(KEY): Part(rows, torch.arange(len(rows)))}
    return Context(parts=parts, batch=Batch.of(fields), samples_seen=samples_seen)


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


def test_instances_of_positive_bags_find_their_own_labels():
    """A fifth of a positive bag's instances have the finding; all of them begin with the label of the bag."""
    generator = torch.Generator().manual_seed(1)
    bag = (torch.arange(100) % 2).float().repeat_interleave(10)
    truth = bag * (torch.rand(1000, generator=generator) < 0.2)
    middle = torch.randn(2, 16, generator=generator)
    rows = unit(middle[truth.long()] + 0.5 * torch.randn(1000, 16, generator=generator))
    state = ClassPrototypes(labels=["effusion"], clean_from=100, momentum=0.99, sure="absent")
    for seen in range(0, 3000, 100):
        part = torch.arange(seen, seen + 100) % 1000
        step(state, rows[part], {"effusion": bag[part]}, samples_seen=seen)
    got = state.targets(context(rows, {"effusion": bag}, samples_seen=3000), rows, KEY)[:, 0]
    there = got.isfinite()
    assert (got[bag == 0] == 0).all()
    assert (bag == truth)[bag == 1].float().mean() < 0.3
    assert (got == truth)[there & (bag == 1)].float().mean() > 0.95
    score = state.scores(rows)[:, 0, 1] - state.scores(rows)[:, 0, 0]
    ranks = score.argsort().argsort().float() + 1
    positives = int(truth.sum())
    auroc = (ranks[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * (1000 - positives))
    assert auroc > 0.98


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


# checkpoints and processes ------------------------------------------------------------------------------------------


def test_saved_they_go_on_bit_for_bit():
    whole, first, second = (ClassPrototypes(labels=NAMES) for _ in range(3))
    for number in range(4):
        step(whole, *drawn(number))
    for number in range(2):
        step(first, *drawn(number))
    second.load_state_dict(first.state_dict())
    for number in range(2, 4):
        step(second, *drawn(number))
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in whole.state_dict().items())


def followed(bounds: list[int]) -> dict:
    state = ClassPrototypes(labels=NAMES, clean_from=12)
    begin, end = bounds[collectives.rank()], bounds[collectives.rank() + 1]
    rows, labels = drawn(9)
    columns = {KEY: rows.numpy(), **{f"label.{n}": v.numpy() for n, v in labels.items()}}
    state.refresh(FeatureTable(list("abcdef"), columns).rows(np.arange(begin, end)))
    for number in range(5):
        rows, labels = drawn(number)
        step(state, rows[begin:end], {n: v[begin:end] for n, v in labels.items()}, samples_seen=6 * number)
    return state.state_dict()


@pytest.mark.pool
def test_one_process_is_two_is_four(pool):
    expected = followed([0, 6])
    for bounds in ([0, 3, 6], [0, 1, 6], [0, 1, 1, 4, 6]):
        for got in pool.run(len(bounds) - 1, followed, bounds):
            for name, tensor in expected.items():
                torch.testing.assert_close(got[name], tensor, rtol=0, atol=1e-6)


def test_what_is_refused():
    for labels in ([], ["nodule", "nodule"]):
        with pytest.raises(ConfigError, match="names no finding, or one twice: name each once"):
            ClassPrototypes(labels=labels)
    state = ClassPrototypes(labels=NAMES)
    with pytest.raises(DataError, match="saved prototypes are of 1 findings, not of 2: resume with the configuration"):
        state.load_state_dict(ClassPrototypes(labels=["nodule"]).state_dict())
