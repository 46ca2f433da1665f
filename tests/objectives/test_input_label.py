from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.objectives.clip import Clip
from medvlp.objectives.input_label import InputLabel
from tests.objectives.world import Scale, rows

LABELS = ("effusion", "nodule", "edema", "fracture")
VALUES = torch.tensor(
    [[1.0, 0, 0, 1], [0, 0, 0, 0], [1, -1, 0, float("nan")], [-1, -1, -1, -1], [0, 1, 0, 0]], dtype=torch.float64
)


def context(
    values: Tensor = VALUES, *, texts: Tensor | None = None, owner: list[int] | None = None, seed: int = 0
) -> Context:
    owner = [*range(len(values))] if owner is None else owner
    bank = rows(len(LABELS), 1) if texts is None else texts
    parts = {
        parse_key("text/embedding"): Part(rows(len(owner), 0), torch.tensor(owner)),
        parse_key("bank.findings/embedding"): Part(bank, torch.full((len(bank),), -1)),
    }
    batch = Batch.of({f"label.{name}": values[:, k] for k, name in enumerate(LABELS)}, first=seed)
    return Context(parts=parts, batch=batch, scale=Scale())


def logits(ctx: Context) -> Tensor:
    return ctx.scale(ctx["text/embedding"] @ ctx["bank.findings/embedding"].T)


def test_with_all_labels_as_negatives_it_is_multi_label_bce() -> None:
    values = (rows(7, 3)[:, :4] > 0).double()
    ctx = context(values)
    term = InputLabel(bank="findings", labels=LABELS)(ctx)["labels"]
    expected = F.binary_cross_entropy_with_logits(logits(ctx), values, reduction="sum")
    torch.testing.assert_close(term.sum, expected, rtol=1e-12, atol=0)
    assert term.count.item() == 7


def test_binary_and_softmax_are_the_loops_and_what_is_unknown_stays_out() -> None:
    ctx = context()
    z = logits(ctx)
    binary, softmax, rows_of_both = 0.0, 0.0, 0
    for i in range(len(VALUES)):
        true = [z[i, k] for k in range(4) if VALUES[i, k] == 1]
        false = [z[i, k] for k in range(4) if VALUES[i, k] == 0]
        binary += sum(-F.logsigmoid(s) for s in true) + sum(-torch.log(1 - torch.sigmoid(s)) for s in false)
        if true:
            rows_of_both += 1
            softmax += sum(torch.stack([s, *false]).logsumexp(0) - s for s in true) / len(true)
    term = InputLabel(bank="findings", labels=LABELS)(ctx)["labels"]
    torch.testing.assert_close(term.sum, torch.as_tensor(binary), rtol=1e-10, atol=0)
    assert term.count.item() == 4  # of one sample nothing is known
    term = InputLabel(bank="findings", labels=LABELS, form="softmax")(ctx)["labels"]
    torch.testing.assert_close(term.sum, torch.as_tensor(softmax), rtol=1e-10, atol=0)
    assert term.count.item() == rows_of_both == 3


def test_texts_that_deny_are_true_where_the_label_is_0() -> None:
    """ "effusion" and "no effusion" are turned around by one word: a swap of the labels is a swap of the banks."""
    ctx, turned = context(), context(torch.where(VALUES >= 0, 1 - VALUES, VALUES))
    for form in ("binary", "softmax"):
        denied = InputLabel(bank="findings", labels=LABELS, denied=True, form=form)(ctx)["labels"]
        stated = InputLabel(bank="findings", labels=LABELS, form=form)(turned)["labels"]
        torch.testing.assert_close(denied.sum, stated.sum, rtol=1e-14, atol=0)
        assert denied.count == stated.count


def test_drawn_negatives_are_so_many_false_labels_each_as_likely_and_rows_of_a_sample_share_them() -> None:
    texts = torch.eye(6, dtype=torch.float64)[:4]
    values = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64).expand(400, 4)
    ctx = context(values, texts=texts, owner=[*range(400), 0])
    embeddings = ctx["text/embedding"].requires_grad_()
    InputLabel(bank="findings", labels=LABELS, negatives=2)(ctx)["labels"].sum.backward()
    assert embeddings.grad is not None
    used = embeddings.grad[:, :4] != 0  # the gradient by coordinate k is that by the score of label k
    assert used[:, 0].all()
    assert (used[:, 1:].sum(dim=1) == 2).all()
    assert ((used[:, 1:].double().mean(dim=0) - 2 / 3).abs() < 0.08).all()
    assert torch.equal(used[0], used[400])
    whole = InputLabel(bank="findings", labels=LABELS, negatives=3)(ctx)["labels"].sum
    torch.testing.assert_close(whole, InputLabel(bank="findings", labels=LABELS)(ctx)["labels"].sum, rtol=1e-12, atol=0)


def test_an_unlike_number_of_texts_and_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"names 4 labels for the 3 texts of 'bank\.findings/embedding'"):
        InputLabel(bank="findings", labels=LABELS)(context(texts=rows(3, 1)))
    with pytest.raises(ConfigError, match="labels of objective 'input_label' is empty"):
        InputLabel(bank="findings", labels=[])


def test_input_against_input_is_clip_of_two_readings_of_a_text() -> None:
    """SimCSE (Gao et al. 2021, eq. 1): a sentence finds its other reading in the batch; clip does it both ways."""
    one, other = rows(4, 5), rows(4, 6)
    readings = (("text", one), ("text.second", other))
    parts = {parse_key(f"{view}/embedding"): Part(x, torch.arange(4)) for view, x in readings}
    ctx = Context(parts=parts, batch=Batch.of({"text": list("abcd"), "text.second": list("efgh")}), scale=Scale())
    terms = Clip(image="text", text="text.second")(ctx)
    z = ctx.scale(one @ other.T)
    assert Clip(image="text", text="text.second").answers() == ()
    for name, scores in (("image_to_text", z), ("text_to_image", z.T)):
        expected = sum(-torch.log(scores[i, i].exp() / scores[i].exp().sum()) for i in range(4))
        torch.testing.assert_close(terms[name].sum, 0.5 * expected, rtol=1e-10, atol=0)
