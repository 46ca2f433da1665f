"""A training step of CLIP ViT-B/32 against open_clip's and transformers', plain and accumulated; one JSON line.

    OMP_NUM_THREADS=2 python tests/benchmarks/clip_step.py [--batch 8] [--effective 256 --part 16] [--repeats 3]

One set of weights, the same pixels and the same token ids, float32, forward and backward without the optimiser. The
losses and the lengths of the gradients are asserted equal before anything is timed. Accumulation is what open_clip's
trainer does with ``--accum-freq``: features of all parts without a graph, then each part again with one, against the
others' features. Memory is the peak that tensors hold at one time above weights and batch.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from _report import interleaved, medians, over, print_report
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.loss import ClipLoss
from torch import Tensor, nn

from medvlp.core import Batch, Column
from medvlp.core.sample import Tokens
from medvlp.models.bundle import Bundle
from medvlp.objectives.clip import Clip
from medvlp.training.costs import peak_bytes
from medvlp.training.precision import Precision
from medvlp.training.task import Task
from medvlp.zoo import convert
from medvlp.zoo.exports import export

CPU = torch.device("cpu")
WORDS = ("effusion", "nodule", "opacity", "left", "right", "lower", "small", "large", "no", "of", "the", "lung")
MEAN, STD = (torch.tensor(each).view(1, 3, 1, 1) for each in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
Step = Callable[[], float]


def texts(count: int) -> list[str]:
    """Distinct sentences of 10 to 40 words."""
    draw = torch.Generator().manual_seed(count)
    lengths = torch.randint(10, 40, (count,), generator=draw).tolist()
    picked = [torch.randint(len(WORDS), (length,), generator=draw).tolist() for length in lengths]
    return [f"report {i} " + " ".join(WORDS[j] for j in each) for i, each in enumerate(picked)]


def step_of_ours(bundle: Bundle, images: Tensor, words: Sequence[str], *, chunks: int) -> Step:
    """Return a step of the engine; texts are cut into tokens before, as the workers of the loader do."""
    tokenizer, owner = bundle.tokenizer, torch.arange(len(words))
    assert tokenizer is not None
    tokens = tokenizer(words)
    assert tokens.mask is not None
    cut = {tokenizer.identity: Tokens.trimmed(tokens.ids, tokens.mask)}
    columns = {"image": Column(images, owner), "text": Column(tuple(words), owner, tokens=cut)}
    batch = Batch(tuple(map(str, range(len(words)))), owner, columns)
    model, objectives = bundle.model.train(), {"clip": Clip()}
    model.mount({}, Task(model=model, objectives=objectives, states={}, seed=0, chunks=1, precision=_float32()).plan)
    task = Task(model=model, objectives=objectives, states={}, seed=0, chunks=chunks, precision=_float32())

    def step() -> float:
        model.zero_grad(set_to_none=True)
        return task.backward(batch, {"clip": 1.0}, samples_seen=0).loss

    return step


def _float32() -> Precision:
    return Precision("cpu", torch.float32, "the peers' too")


def step_of_open_clip(model: nn.Module, images: Tensor, tokens: Tensor, *, part: int) -> Step:
    """Return a step of open_clip on parts of a batch."""
    loss = ClipLoss()
    parts = list(zip(images.split(part), tokens.split(part), strict=True))

    def step() -> float:
        model.zero_grad(set_to_none=True)
        if len(parts) == 1:
            value = loss(*model(images, tokens))
            value.backward()
            return value.item()
        with torch.no_grad():
            found = [model(*each)[:2] for each in parts]
        for i, each in enumerate(parts):
            image, text, scale = model(*each)
            sides = zip(zip(*found, strict=True), (image, text), strict=True)
            rows = [[*side[:i], own, *side[i + 1 :]] for side, own in sides]
            value = loss(torch.cat(rows[0]), torch.cat(rows[1]), scale)
            value.backward()
        return value.item()

    return step


def step_of_transformers(folder: Path, images: Tensor, ids: Tensor, mask: Tensor) -> tuple[nn.Module, Step]:
    """Return transformers' CLIP of the same weights, and its step."""
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(folder).train()

    def step() -> float:
        model.zero_grad(set_to_none=True)
        value = model(input_ids=ids, attention_mask=mask, pixel_values=images, return_loss=True).loss
        value.backward()
        return value.item()

    return model, step


def length(model: nn.Module, *, without: str = "scale") -> float:
    """Return the length of all gradients together but that of the logit scale, whose unit differs."""
    grads = [
        p.grad.double().norm() for name, p in model.named_parameters() if p.grad is not None and without not in name
    ]
    return torch.stack(grads).norm().item()


def compare(steps: dict[str, tuple[nn.Module, Step]], repeats: int) -> dict[str, object]:
    """Assert that all steps do the same, then time them in turn."""
    seen = {name: (step(), length(model)) for name, (model, step) in steps.items()}
    for found in seen.values():  # loss, and length of the gradient
        torch.testing.assert_close(torch.tensor(found), torch.tensor(seen["open_clip"]), rtol=2e-4, atol=1e-5)
    mib = {name: round(peak_bytes(step, CPU) / 2**20, 1) for name, (_, step) in steps.items()}
    times = interleaved({name: step for name, (_, step) in steps.items()}, repeats=repeats)
    ratios = {f"over_{name}": over(times, "medvlp", name) for name in times if name != "medvlp"}
    memory = {f"memory_over_{name}": round(mib["medvlp"] / each, 3) for name, each in mib.items() if name != "medvlp"}
    return {
        "loss": {name: found[0] for name, found in seen.items()},
        "ms": medians(times),
        "mib": mib,
        **ratios,
        **memory,
    }


def main() -> None:
    """Build, check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="samples of the plain step")
    parser.add_argument("--effective", type=int, default=0, help="samples of the accumulated step; 0 leaves it out")
    parser.add_argument("--part", type=int, default=16, help="samples encoded at a time of the accumulated step")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.manual_seed(0)
    theirs = open_clip.create_model("ViT-B-32", pretrained=None).train()
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        torch.save(theirs.state_dict(), Path(folder) / "weights.pt")
        options = {"release": "pubmedclip", "activation": "gelu"}
        bundle = convert(Path(folder) / "weights.pt", name="open_clip", options=options)
        export(bundle, to="transformers", out=Path(folder) / "transformers")
        for key, count, part in (("plain", asked.batch, asked.batch), ("accumulated", asked.effective, asked.part)):
            if not count:
                continue
            images, words = torch.rand(count, 3, 224, 224), texts(count)
            scaled = (images - MEAN) / STD  # our tower does it itself
            tokens = open_clip.get_tokenizer("ViT-B-32")(words)
            steps = {
                "medvlp": (bundle.model, step_of_ours(bundle, images, words, chunks=count // part)),
                "open_clip": (theirs, step_of_open_clip(theirs, scaled, tokens, part=part)),
            }
            if count == part:
                mask = torch.arange(tokens.shape[1])[None] <= tokens.argmax(dim=1)[:, None]
                place = Path(folder) / "transformers"
                steps["transformers"] = step_of_transformers(place, scaled, tokens, mask.long())
            found[key] = {"samples": count, "part": part, **compare(steps, asked.repeats)}
    print_report(
        "clip_step", n={"repeats": asked.repeats}, packages=("torch", "open_clip_torch", "transformers"), **found
    )


if __name__ == "__main__":
    main()
