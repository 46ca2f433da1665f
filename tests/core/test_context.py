from __future__ import annotations

import pytest
import torch

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys, parse_key
from medvlp.core.parts import Part, collect_parts
from medvlp.core.sample import Batch, Column


def context(batch: Batch, *, image: list[int] | None = None, text: list[int] | None = None, **options) -> Context:
    """Rows of two views with the given owners (default: one row a sample)."""
    parts = {}
    for view, owner in (("image", image), ("text", text)):
        owners = torch.arange(batch.size) if owner is None else torch.tensor(owner)
        parts[parse_key(f"{view}/raw")] = Part(torch.arange(float(len(owners)))[:, None], owners)
    return Context(parts=parts, batch=batch, **options)


def test_reports_are_the_same_by_their_words_white_space_and_case_aside():
    batch = Batch.of({"text": ["No effusion.", "no  EFFUSION.\n", "Effusion.", "", ""]})
    same = context(batch).same("report", rows="image", columns="text")
    expected = torch.eye(5).bool()
    expected[0, 1] = expected[1, 0] = True  # and nothing equals a missing report but its own sample
    assert torch.equal(same, expected)


def test_patients_and_studies_are_told_by_the_very_letters_of_their_ids():
    rows = {"image/raw": torch.eye(3)}
    ids = ("aB", "Ab", "aB ")
    ctx = Context.of(rows, {"id.patient": ids, "id.study": ids, "text": ("No nodule.", "no\n nodule.", "nonodule.")})
    for what in ("patient", "study"):
        assert torch.equal(ctx.same(what, rows="image", columns="image"), torch.eye(3).bool())
    assert ctx.same("report", rows="image", columns="image").int().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    unknown = Context.of(rows, {"id.patient": ("", " ", " ")})
    assert torch.equal(unknown.same("patient", rows="image", columns="image"), torch.eye(3).bool())


def test_the_same_study_patient_or_field():
    batch = Batch.of(
        {
            "text": ["a", "b", "c"],
            "id.patient": ["p", "p", ""],
            "id.study": ["s", "t", ""],
            "label.cluster": torch.tensor([1.0, float("nan"), float("nan")]),
            "label.other": torch.tensor([1.0, 1.0, 0.0]),
            "label.unsure": torch.tensor([-1.0, -1.0, 1.0]),
            "number.level": torch.tensor([-1.0, -1.0, 1.0]),
        }
    )
    ctx = context(batch)

    def pairs(what):
        return (ctx.same(what, rows="image", columns="text") & ~torch.eye(3).bool()).nonzero().tolist()

    assert pairs("patient") == [[0, 1], [1, 0]]
    assert pairs("study") == []
    assert pairs("label.cluster") == []  # NaN equals nothing
    assert pairs("label.other") == [[0, 1], [1, 0]]
    assert pairs("label.unsure") == []  # uncertain of both: nobody knows whether they are the same
    assert pairs("number.level") == [[0, 1], [1, 0]]
    assert pairs("sample") == []


def test_several_rows_of_a_sample_belong_together_and_a_bank_to_nobody():
    batch = Batch.of({"text": ["a", "b"]})
    ctx = context(batch, image=[0, 1], text=[0, 0, 1])
    assert ctx.same("sample", rows="image", columns="text").tolist() == [[True, True, False], [False, False, True]]
    ctx = Context(parts={parse_key("bank.words/raw"): Part(torch.zeros(4, 1), torch.full((4,), -1))}, batch=batch)
    assert ctx.owner("bank.words/raw").tolist() == [-1] * 4
    assert ctx.all("bank.words/raw") is ctx["bank.words/raw"]


def test_shared_labels_are_present_findings_in_common():
    nan = float("nan")
    batch = Batch.of(
        {
            "text": ["a", "b", "c", "d"],
            "label.effusion": torch.tensor([1.0, 1.0, 0.0, nan]),
            "label.nodule": torch.tensor([0.0, -1.0, -1.0, nan]),
        }
    )
    shared = context(batch).shared_labels(rows="image", columns="text")
    expected = torch.eye(4).bool()
    expected[0, 1] = expected[1, 0] = True  # two absent or two uncertain findings are nothing in common
    assert torch.equal(shared, expected)
    with pytest.raises(ConfigError, match=r"Shared labels need label fields, and the batch has none"):
        context(Batch.of({"text": ["a"]})).shared_labels(rows="image", columns="text")


def test_masked_rows_of_an_absent_view_are_dropped_and_half_precision_ends():
    encoded = {
        "image": Encoded(owner=torch.tensor([0, -1, 1]), pooled=torch.arange(3.0)[:, None].bfloat16()),
        "bank.words": Encoded(owner=torch.tensor([-1, -1]), pooled=torch.zeros(2, 1)),
    }
    parts = collect_parts(encoded, Plan.of(keys("image/pooled", "bank.words/pooled")).views, who="ema")
    image = parts[parse_key("ema:image/pooled")]
    assert image.values.dtype == torch.float32
    assert image.values.tolist() == [[0], [2]]
    assert image.owner.tolist() == [0, 1]
    assert parts[parse_key("ema:bank.words/pooled")].values.shape == (2, 1)


def test_draws_are_a_function_of_seed_position_and_name_alone():
    whole = context(Batch.of({"text": ["a"] * 6}, first=100), seed=3)
    part = context(Batch.of({"text": ["a"] * 2}, first=103), seed=3)
    assert torch.equal(whole.uniform(4, 5, name="mask")[3:5], part.uniform(4, 5, name="mask"))
    assert not torch.equal(whole.uniform(4, name="mask"), whole.uniform(4, name="noise"))
    other = context(Batch.of({"text": ["a"] * 6}, first=100), seed=4)
    assert not torch.equal(whole.uniform(4, name="mask"), other.uniform(4, name="mask"))
    assert whole.uniform(name="mask").shape == (6,)


def test_shared_draws_know_the_step_and_the_name_and_nothing_of_the_samples():
    def at(seen: int, **options) -> Context:
        words = options.pop("words", ["a", "b"])
        return Context(parts={}, batch=Batch.of({"text": words}, first=7), seed=3, samples_seen=seen, **options)

    draws = at(8).uniform_shared(4, 5, name="classes")
    assert draws.shape == (4, 5)
    assert torch.equal(draws, at(8, words=["c"], chunk=True).uniform_shared(4, 5, name="classes"))
    assert not torch.equal(draws, at(16).uniform_shared(4, 5, name="classes"))
    assert not torch.equal(draws, at(8).uniform_shared(4, 5, name="other"))
    # Nor are they those of the sample at the place of that number.
    assert not torch.equal(draws, at(8).uniform(4, 5, name="classes")[1])


def test_draws_are_uniform_and_independent_of_their_neighbours():
    draws = context(Batch.of({"text": ["a"] * 200})).uniform(100, name="u").double()
    count = draws.numel()
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 0.5) < 4 * (1 / 12 / count) ** 0.5
    histogram = torch.histc(draws, 20, 0, 1)
    assert ((histogram - count / 20) ** 2 / (count / 20)).sum() < 43.8  # chi2 of 19, 0.999
    for a, b in ((draws[1:], draws[:-1]), (draws[:, 1:], draws[:, :-1])):
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) < 4 / count**0.5


def test_what_was_not_planned_is_refused():
    ctx = context(Batch.of({"text": ["a"]}))
    with pytest.raises(ConfigError, match=r"Key 'image/row' was not planned: did you mean 'image/raw'\?"):
        _ = ctx["image/row"]
    with pytest.raises(ConfigError, match=r"View 'imag' was not planned"):
        ctx.same("sample", rows="imag", columns="text")
    with pytest.raises(ConfigError, match=r"ctx.same needs field 'id.patient'"):
        ctx.same("patient", rows="image", columns="text")
    with pytest.raises(ConfigError, match=r"The batch has no field 'label.effusion'"):
        _ = ctx["label.effusion"]
    with pytest.raises(ConfigError, match=r"Field 'text' holds words"):
        _ = ctx["text"]


def test_a_sample_scope_objective_does_not_see_other_chunks():
    ctx = context(Batch.of({"text": ["a", "b"]}), chunk=True)
    with pytest.raises(ConfigError, match=r"asked for everybody's 'image/raw': declare scope = 'batch'"):
        ctx.all("image/raw")
    assert ctx.owner("image/raw").tolist() == [0, 1]
    assert ctx["image/raw"].shape == (2, 1)


# several processes --------------------------------------------------------------------------------------------------


def who_is_who() -> dict:
    """Rank r holds r + 1 samples; text rows twice a sample on odd ranks, tokens of different length everywhere."""
    from medvlp.core.collectives import rank

    count = rank() + 1
    first = sum(range(rank() + 1))
    owner = torch.arange(count).repeat_interleave(1 + rank() % 2)
    words = Column(tuple("odd" if (first + i) % 2 else "even" for i in range(count)), torch.arange(count))
    batch = Batch(tuple(map(str, range(count))), torch.arange(count) + first, {"text": words})
    tokens = torch.full((len(owner), rank() + 1, 1), float(rank() + 1))
    parts = {
        parse_key("image/raw"): Part(torch.arange(float(count))[:, None] + first, torch.arange(count)),
        parse_key("text/tokens"): Part(tokens, owner),
        parse_key("text/mask"): Part(torch.ones(len(owner), rank() + 1, dtype=torch.bool), owner),
    }
    ctx = Context(parts=parts, batch=batch)
    return {
        "rows": ctx.all("image/raw").flatten(),
        "own": ctx.own("image/raw"),
        "owner": ctx.all_owner("text/tokens"),
        "mask": ctx.all("text/mask").sum(1),
        "tokens": ctx.all("text/tokens").sum((1, 2)),
        "same": ctx.same("report", rows="image", columns="image"),
    }


def looked_at_first() -> torch.Tensor:
    rows = torch.ones(1, 2, requires_grad=True)
    ctx = Context(parts={parse_key("image/raw"): Part(rows, torch.arange(1))}, batch=Batch.of({"text": ["a"]}))
    with torch.no_grad():
        assert not (ctx.all("image/raw") * 2).requires_grad
    ctx.all("image/raw").sum().backward()
    return rows.grad


@pytest.mark.pool
def test_what_a_state_saw_without_gradient_still_has_it_for_an_objective(pool):
    """Each process's loss holds the rows of both."""
    for gradient in pool.run(2, looked_at_first):
        assert gradient.tolist() == [[2.0, 2.0]]


@pytest.mark.pool
def test_everybodys_rows_stand_in_rank_order(pool):
    results = pool.run(4, who_is_who)
    for rank, got in enumerate(results):
        assert got["rows"].tolist() == list(range(10))
        assert got["own"].tolist() == list(range(sum(range(rank + 1)), sum(range(rank + 2))))
        assert got["owner"].tolist() == [0, 1, 1, 2, 2, 3, 4, 5, 6, 6, 7, 7, 8, 8, 9, 9]
        lengths = [1, 2, 2, 2, 2, 3, 3, 3] + [4] * 8
        assert got["mask"].tolist() == lengths  # shorter rows are padded with masked tokens
        assert got["tokens"].tolist() == [n * n for n in lengths]
    same = torch.cat([got["same"] for got in results])
    parity = torch.arange(10) % 2
    assert torch.equal(same, parity[:, None] == parity[None, :])


# rows of fields -----------------------------------------------------------------------------------------------------

STATED = Column(("Nodule.", "Effusion.", "effusion.", "Clear."), torch.tensor([0, 0, 1, 3]))


def by_rows(first: int = 0, last: int = 4) -> Context:
    """Samples with two, one, no and one statement; two images of sample 1, boxes and a vector for some."""
    every = torch.arange(4)
    columns = {
        "text.stated": STATED,
        "id.patient": Column(("p", "q", "p", ""), every),
        "vector.place": Column(torch.tensor([[10.0, 11], [12, 13], [30, 31]]), torch.tensor([0, 1, 3])),
        "boxes": Column(torch.arange(12.0).view(3, 4), torch.tensor([1, 1, 3])),
        "mask": Column(torch.eye(3).bool()[:, None], torch.tensor([0, 1, 3])),
    }
    whole = Batch(tuple("abcd"), every, columns)
    part = whole.take(first, last)
    parts = {}
    for key, owner in (("image/raw", torch.tensor([0, 1, 1, 2, 3])), ("text.stated/raw", STATED.owner)):
        here = (owner >= first) & (owner < last)
        parts[parse_key(key)] = Part(torch.arange(float(here.sum()))[:, None], owner[here] - first)
    return Context(parts=parts, batch=part)


def test_equal_text_is_told_by_row_not_by_sample():
    """The same statement of two samples, of which one has another statement too."""
    ctx = by_rows()
    same = ctx.same("text.stated", rows="image", columns="text.stated")
    owner = [0, 1, 1, 2, 3]
    words = [word.lower() for word in STATED.values]
    for i, sample in enumerate(owner):
        own_words = {word for word, of in zip(words, STATED.owner.tolist(), strict=True) if of == sample}
        assert same[i].tolist() == [word in own_words for word in words]
    # Two statements are the same if they are equal, or of one sample; turned round it is the same relation.
    both = ctx.same("text.stated", rows="text.stated", columns="text.stated")
    assert both.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert torch.equal(ctx.same("text.stated", rows="text.stated", columns="image"), same.T)


def test_a_bank_is_the_same_as_no_sample():
    batch = Batch.of({"text": ["a", "b"], "id.patient": ["p", "q"]})
    parts = {parse_key("bank.words/raw"): Part(torch.zeros(2, 1), torch.full((2,), -1))}
    parts[parse_key("text/raw")] = Part(torch.zeros(2, 1), torch.arange(2))
    ctx = Context(parts=parts, batch=batch)
    for what in ("sample", "report", "patient"):
        assert not ctx.same(what, rows="text", columns="bank.words").any()
        assert not ctx.same(what, rows="bank.words", columns="bank.words").any()


def test_rows_of_a_field_stand_beside_the_rows_of_their_own_sample():
    ctx = by_rows()
    for field in ("vector.place", "boxes", "mask"):
        column = ctx.batch[field]
        for key in ("image/raw", "text.stated/raw"):
            found = ctx.rows(field, key)
            naive = [
                (row, index)
                for row, sample in enumerate(ctx.owner(key).tolist())
                for index, of in enumerate(column.owner.tolist())
                if of == sample
            ]
            assert found.row.tolist() == [row for row, _ in naive]
            assert torch.equal(found.values, column.values[[index for _, index in naive]])
    place = ctx.rows("vector.place", "image/raw").one()
    assert place[[0, 1, 2, 4]].tolist() == [[10, 11], [12, 13], [12, 13], [30, 31]]
    assert place[3].isnan().all()  # a sample without the field


def test_one_row_is_not_made_of_several_or_of_none():
    ctx = by_rows()
    with pytest.raises(ConfigError, match=r"Field 'boxes' has 2 rows for a sample where one is wanted: let a view"):
        ctx.rows("boxes", "image/raw").one()
    with pytest.raises(ConfigError, match=r"Field 'mask' has no row for a sample where one is wanted, and its kind"):
        ctx.rows("mask", "image/raw").one()
    with pytest.raises(ConfigError, match=r"Field 'text.stated' holds words"):
        ctx.rows("text.stated", "image/raw")


def who_is_who_by_rows(bounds: list[int]) -> dict:
    from medvlp.core.collectives import rank

    ctx = by_rows(bounds[rank()], bounds[rank() + 1])
    views = (("image", "text.stated"), ("text.stated", "image"), ("text.stated", "text.stated"))
    return {f"{rows} {columns}": ctx.same("text.stated", rows=rows, columns=columns) for rows, columns in views}


@pytest.mark.pool
@pytest.mark.parametrize("bounds", [[0, 2, 4], [0, 1, 4], [0, 3, 4]])
def test_rows_are_compared_over_all_processes(pool, bounds):
    """One process of the second cut has samples with two statements only, one of the third has none of two."""
    expected = who_is_who_by_rows([0, 4])
    results = pool.run(2, who_is_who_by_rows, bounds)
    for name, whole in expected.items():
        assert torch.equal(torch.cat([got[name] for got in results]), whole)


# what an objective computes -----------------------------------------------------------------------------------------


def gathered_loss(bounds: list[int]) -> dict:
    """Row means of the tokens that a row attends to, against those of everybody: a loss of computed rows."""
    start, stop = bounds[collectives.rank()], bounds[collectives.rank() + 1]
    owner = torch.tensor([0, 1, 1, 3, 4])
    draws = torch.Generator().manual_seed(0)
    tokens = torch.randn(5, 4, 3, generator=draws, dtype=torch.float64)
    query = torch.randn(3, generator=draws, dtype=torch.float64).requires_grad_()
    here = (owner >= start) & (owner < stop)
    values = tokens[here].requires_grad_()
    batch = Batch.of({"text": ["a"] * (stop - start)}, first=start)
    ctx = Context(parts={parse_key("text/tokens"): Part(values, owner[here] - start)}, batch=batch)
    computed = torch.einsum("rn,rnd->rd", (values @ query).softmax(1), values)
    everybody = ctx.gather(computed, ctx.owner("text/tokens"))
    own = ctx.owner("text/tokens")
    scores = (computed @ everybody.values.T).log_softmax(1)
    same = own[:, None] == everybody.owner[None, :]
    loss = -(scores * same).sum() / 5 * collectives.world_size()
    loss.backward()
    assert query.grad is not None
    collectives.average_gradients_([query])
    mine = values.grad / collectives.world_size()
    return {"owner": everybody.owner, "query": query.grad, "tokens": mine, "loss": collectives.total(loss.detach())}


@pytest.mark.pool
@pytest.mark.parametrize("bounds", [[0, 2, 5], [0, 1, 5], [0, 4, 5]])
def test_what_an_objective_computes_is_gathered_with_exact_gradients(pool, bounds):
    expected = gathered_loss([0, 5])
    assert expected["owner"].tolist() == [0, 1, 1, 3, 4]
    results = pool.run(2, gathered_loss, bounds)
    tokens = torch.cat([got["tokens"] for got in results])
    torch.testing.assert_close(tokens, expected["tokens"], rtol=1e-12, atol=1e-14)
    for got in results:
        assert torch.equal(got["owner"], expected["owner"])
        torch.testing.assert_close(got["query"], expected["query"], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(got["loss"] / 2, expected["loss"], rtol=1e-12, atol=1e-14)


def test_a_chunk_alone_gathers_nothing():
    ctx = context(Batch.of({"text": ["a"]}), chunk=True)
    with pytest.raises(ConfigError, match=r"asked for everybody's 'rows': declare scope = 'batch'"):
        ctx.gather(torch.eye(1), torch.arange(1))


def asked_twice() -> float:
    """The gradient of everybody's rows after somebody looked at them without one."""
    values = torch.tensor([[1.0 + collectives.rank()]], requires_grad=True)
    parts = {parse_key("image/raw"): Part(values, torch.arange(1))}
    ctx = Context(parts=parts, batch=Batch.of({"text": ["a"]}))
    with torch.no_grad():
        ctx.all("image/raw")
    ctx.all("image/raw").square().sum().backward()
    assert values.grad is not None
    return values.grad.item()


@pytest.mark.pool
def test_who_looks_without_gradient_takes_it_from_nobody(pool):
    assert pool.run(2, asked_twice) == [4.0, 8.0]  # twice the row, of both processes
