from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, Part, collectives
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.models.heads.prototypes import Prototypes
from medvlp.objectives import sinkhorn
from medvlp.objectives.sinkhorn_prototypes import SinkhornPrototypes
from medvlp.state.queue import Queue

WIDTH, K = 5, 7


def reference(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """The algorithm as the paper prints it, in float64: K x B, total 1, rows to 1 / K, columns to 1 / B."""
    q = np.exp(scores.astype(np.float64) / epsilon).T
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True)
        q /= len(q)
        q /= q.sum(axis=0, keepdims=True)
        q /= q.shape[1]
    return (q * q.shape[1]).T


def scores_of(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    a, b = (unit(torch.randn(n, WIDTH, generator=generator, dtype=torch.float64)) for n in (rows, columns))
    return a @ b.T


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("shape", [(64, 10), (3, 8), (1, 4), (50, 2)])
def test_sinkhorn_is_the_papers_algorithm(shape, iterations):
    scores = scores_of(*shape)
    expected = reference(scores.numpy(), 0.05, iterations)
    np.testing.assert_allclose(sinkhorn(scores, iterations=iterations).numpy(), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sinkhorn(scores.float(), iterations=iterations).numpy(), expected, rtol=2e-4, atol=1e-6)


def test_rows_sum_to_1_and_columns_come_to_equal_shares():
    scores = scores_of(64, 10)
    few, many = sinkhorn(scores, iterations=3), sinkhorn(scores, iterations=300)
    for assigned in (few, many):
        torch.testing.assert_close(assigned.sum(1), torch.ones(64, dtype=torch.float64))
    torch.testing.assert_close(many.sum(0), torch.full((10,), 6.4, dtype=torch.float64), rtol=0, atol=1e-4)
    assert (scores / 0.05).softmax(1).sum(0).std() > 2 * few.sum(0).std()


def test_it_stays_finite_where_exponentials_do_not():
    assigned = sinkhorn(scores_of(20, 6).float(), epsilon=0.001)
    assert assigned.isfinite().all()
    torch.testing.assert_close(assigned.sum(1), torch.ones(20))
    assert sinkhorn(torch.zeros(0, 4)).shape == (0, 4)


# the objective ------------------------------------------------------------------------------------------------------


def rows_of(view: str, count: int = 6) -> torch.Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(len(view)), dtype=torch.float64)


def head(width: int = WIDTH) -> Prototypes:
    torch.manual_seed(3)
    return Prototypes(embed_dim=width, prototypes=K).double()


def context(rows, *, owners=None, states=None, samples_seen=0, prototypes=None, part="raw", size=6) -> Context:
    owners = owners or {}
    parts = {
        parse_key(f"{view}/{part}"): Part(values, torch.tensor(owners.get(view, range(len(values))), dtype=torch.int64))
        for view, values in rows.items()
    }
    batch = Batch(tuple(map(str, range(size))), torch.arange(size), {})
    heads = {"prototypes": prototypes or head()}
    return Context(parts=parts, batch=batch, heads=heads, states=states, samples_seen=samples_seen)


def entropy(scores: np.ndarray, target: np.ndarray) -> float:
    """Mean cross entropy, by loops."""
    total = 0.0
    for z, q in zip(scores.tolist(), target.tolist(), strict=True):
        below = math.log(sum(math.exp(v) for v in z))
        total -= sum(a * (v - below) for a, v in zip(q, z, strict=True))
    return total / len(scores)


def test_two_modalities_are_mgcas_swapped_prediction():
    rows = {"image": rows_of("image"), "text": rows_of("text")}
    prototypes = head()
    terms = SinkhornPrototypes(prototypes=K)(context(rows, prototypes=prototypes))
    weight = prototypes.weight.detach().numpy()
    scores = {view: unit(values).numpy() @ weight.T for view, values in rows.items()}
    codes = {view: reference(values, 0.05, 3) for view, values in scores.items()}
    forward = entropy(scores["text"] / 0.2, codes["image"])
    back = entropy(scores["image"] / 0.2, codes["text"])
    assert terms["image_to_text"].value().item() == pytest.approx(forward / 2, rel=1e-9)
    assert terms["text_to_image"].value().item() == pytest.approx(back / 2, rel=1e-9)


def test_crops_are_swavs_loss():
    """Two global crops assign, all crops predict: the mean over assigners of the mean over the other crops."""
    views = ["image", "image.other", "image.local", "image.local_two"]
    rows, prototypes = {view: rows_of(view) for view in views}, head()
    objective = SinkhornPrototypes(
        assigners=views[:2], predictors=views[2:], prototypes=K, temperature=0.1, hidden=16, width=WIDTH
    )
    terms = objective(context(rows, prototypes=prototypes, part="prototypes_rows"))
    scores = {view: unit(values).numpy() @ prototypes.weight.detach().numpy().T for view, values in rows.items()}
    loss = 0.0
    for assigner in views[:2]:
        code = reference(scores[assigner], 0.05, 3)
        loss += sum(entropy(scores[view] / 0.1, code) for view in views if view != assigner) / 3
    assert sum(term.value().item() for term in terms.values()) == pytest.approx(loss / 2, rel=1e-9)
    assert len(terms) == 6


def test_the_gradient_is_that_of_the_scores_alone():
    """Codes are constants: the gradient is (softmax - code) / temperature through the scores, checked numerically."""
    rows = {"image": rows_of("image").requires_grad_(), "text": rows_of("text").requires_grad_()}
    prototypes = head()
    SinkhornPrototypes(prototypes=K)(context(rows, prototypes=prototypes))["image_to_text"].sum.backward()
    assert rows["image"].grad is None  # the assigner
    z = unit(rows["text"].detach().requires_grad_())
    code = torch.from_numpy(reference((unit(rows["image"]) @ prototypes.weight.T).detach().numpy(), 0.05, 3))
    weight = prototypes.weight.detach().clone().requires_grad_()
    values = rows["text"].detach().clone().requires_grad_()
    z = unit(values) @ weight.T / 0.2
    (-(code * z.log_softmax(1)).sum() / 2).backward()
    torch.testing.assert_close(rows["text"].grad, values.grad)
    torch.testing.assert_close(prototypes.weight.grad, weight.grad)


def test_prototypes_stand_still_until_they_are_freed():
    prototypes = head()
    for seen, moves in ((0, False), (99, False), (100, True)):
        rows = {"image": rows_of("image").requires_grad_(), "text": rows_of("text").requires_grad_()}
        prototypes.zero_grad()
        terms = SinkhornPrototypes(prototypes=K, freeze=100)(context(rows, prototypes=prototypes, samples_seen=seen))
        sum(term.sum for term in terms.values()).backward()
        assert (prototypes.weight.grad is not None) == moves
        assert rows["image"].grad.abs().max() > 0


def test_prototypes_are_brought_back_to_unit_length_after_a_step():
    prototypes = head()
    torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(K, dtype=torch.float64))
    with torch.no_grad():
        prototypes.weight.mul_(torch.linspace(0.1, 4, K)[:, None])
    prototypes.after_step(8)
    torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(K, dtype=torch.float64))


def test_a_queue_takes_part_in_the_shares_once_it_is_full():
    rows, prototypes = {"image": rows_of("image"), "text": rows_of("text")}, head()
    queue = Queue(reads=["image/raw", "text/raw"], size=8)
    objective = SinkhornPrototypes(prototypes=K, queue="queue")
    assert "state:queue" in map(str, objective.needs())
    past = {view: torch.randn(6, WIDTH, dtype=torch.float64) for view in rows}
    values = []
    for _ in range(3):
        ctx = context(rows, prototypes=prototypes, states={"queue": queue})
        values.append(objective(ctx)["image_to_text"].value().item())
        queue.observe(context(past, prototypes=prototypes))
        queue.after_step(None, 0)
    alone = SinkhornPrototypes(prototypes=K)(context(rows, prototypes=prototypes))["image_to_text"].value().item()
    assert values[:2] == [alone, alone]  # empty, then not full
    everybody = torch.cat([queue.rows("image/raw"), unit(rows["image"])])
    code = reference((everybody @ prototypes.weight.detach().T).numpy(), 0.05, 3)[8:]
    scores = (unit(rows["text"]) @ prototypes.weight.detach().T).numpy() / 0.2
    assert values[2] == pytest.approx(entropy(scores, code) / 2, rel=1e-9)


def test_rows_meet_those_of_their_own_sample():
    """Sample 1 has two texts, sample 2 none; an image with two texts is asked for the mean of their codes."""
    rows = {"image": rows_of("image", 4), "text": rows_of("text", 4)}
    owners = {"image": [0, 1, 2, 3], "text": [0, 1, 1, 3]}
    prototypes = head()
    terms = SinkhornPrototypes(prototypes=K)(context(rows, owners=owners, prototypes=prototypes, size=4))
    weight = prototypes.weight.detach().numpy()
    scores = {view: unit(values).numpy() @ weight.T for view, values in rows.items()}
    codes = {view: reference(values, 0.05, 3) for view, values in scores.items()}
    assert terms["image_to_text"].count.item() == 4
    expected = entropy(scores["text"] / 0.2, codes["image"][[0, 1, 1, 3]])
    assert terms["image_to_text"].value().item() == pytest.approx(expected / 2, rel=1e-9)
    assert terms["text_to_image"].count.item() == 3
    means = np.stack([codes["text"][0], codes["text"][1:3].mean(0), codes["text"][3]])
    expected = entropy(scores["image"][[0, 1, 3]] / 0.2, means)
    assert terms["text_to_image"].value().item() == pytest.approx(expected / 2, rel=1e-9)


def prototypes_in_use(equal_shares: bool) -> int:
    """Train a linear map and thirty prototypes on two noisy views of ten groups; how many are some row's nearest."""
    generator = torch.Generator().manual_seed(0)
    middle = torch.randn(10, 16, generator=generator)
    group = torch.arange(200) % 10
    torch.manual_seed(0)
    net, prototypes = torch.nn.Linear(16, 8), Prototypes(embed_dim=8, prototypes=30)
    optimiser = torch.optim.Adam([*net.parameters(), *prototypes.parameters()], lr=0.02)
    scores = []
    for _ in range(300):
        views = [unit(net(middle[group] + torch.randn(200, 16, generator=generator))) for _ in range(2)]
        scores = [prototypes.scores(view, learn=True) for view in views]
        codes = [sinkhorn(s.detach()) if equal_shares else (s.detach() / 0.05).softmax(1) for s in scores]
        loss = -sum((codes[i] * (scores[1 - i] / 0.1).log_softmax(1)).sum(1).mean() for i in (0, 1)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        prototypes.after_step(0)
    return len(scores[0].argmax(1).unique())


def test_equal_shares_keep_prototypes_in_use_and_plain_codes_collapse():
    assert prototypes_in_use(True) >= 27
    assert prototypes_in_use(False) <= 8


# processes ----------------------------------------------------------------------------------------------------------


def shared_step(bounds: list[int]) -> dict[str, torch.Tensor]:
    """Value and gradients on this process's part of six samples; a process may have images only."""
    begin, end = bounds[collectives.rank()], bounds[collectives.rank() + 1]
    owners = {"image": [0, 1, 2, 3, 4, 5], "text": [0, 1, 1, 3, 4]}
    prototypes, net = head(), torch.nn.Linear(WIDTH, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        net.weight.copy_(torch.eye(WIDTH) + 0.1 * rows_of("net", WIDTH))
        net.bias.zero_()
    rows, local = {}, {}
    for view, owner in owners.items():
        here = [i for i, o in enumerate(owner) if begin <= o < end]
        rows[view] = net(rows_of(view, len(owner))[here])
        local[view] = [owner[i] - begin for i in here]
    queue = Queue(reads=["image/raw", "text/raw"], size=4)
    queue.load_state_dict({f"rows|{view}/raw": unit(rows_of(view + "?", 4)) for view in owners})
    ctx = context(rows, owners=local, prototypes=prototypes, states={"queue": queue}, size=end - begin)
    loss = torch.zeros((), dtype=torch.float64)
    value = torch.zeros((), dtype=torch.float64)
    for term in SinkhornPrototypes(prototypes=K, queue="queue")(ctx).values():
        count = collectives.total(term.count)
        value += collectives.total(term.sum) / count
        loss = loss + collectives.world_size() * term.sum / count
    loss.backward()
    collectives.average_gradients_([net.weight, prototypes.weight])
    return {"value": value, "weight": net.weight.grad, "prototypes": prototypes.weight.grad}


@pytest.mark.pool
def test_one_process_is_two_is_four(pool):
    expected = shared_step([0, 6])
    for bounds in ([0, 3, 6], [0, 2, 6], [0, 5, 6], [0, 1, 2, 5, 6]):
        for got in pool.run(len(bounds) - 1, shared_step, bounds):
            for name, value in expected.items():
                torch.testing.assert_close(got[name], value, rtol=1e-10, atol=1e-12)


def test_what_is_refused():
    for views in ({"assigners": ["image"]}, {"assigners": []}, {"assigners": ["image", "image"]}):
        with pytest.raises(ConfigError, match="name an assigner and another view, each once"):
            SinkhornPrototypes(**views)
    from medvlp.state.clusters import Clusters

    rows = {"image": rows_of("image"), "text": rows_of("text")}
    with pytest.raises(ConfigError, match=r"states.queue is no queue, which objective 'sinkhorn_prototypes' needs"):
        SinkhornPrototypes(prototypes=K, queue="queue")(context(rows, states={"queue": Clusters()}))
