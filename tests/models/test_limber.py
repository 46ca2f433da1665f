"""LiMBeR: a language model that goes on after a map of a picture's vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from medvlp.core import ConfigError, UserError
from medvlp.core.decoding import Decoding
from medvlp.core.protocols import HeadSpec
from medvlp.models.heads._language import Language
from medvlp.models.heads.limber import Limber
from medvlp.training.phases import set_trainable
from tests.models.words import dual

STOP = 8
GPT2 = {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 24}
OPT = {"model_type": "opt", "hidden_size": 8, "word_embed_proj_dim": 8, "ffn_dim": 16, "num_hidden_layers": 1}
OPT |= {"num_attention_heads": 2, "max_position_embeddings": 32}
LLAMA = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
LLAMA |= {
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
}


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


def made(**options: Any) -> Limber:
    torch.manual_seed(1)
    head = Limber(memory_width=12, vocab_size=9, **{"config": GPT2, **options})
    with torch.no_grad():
        for parameter in head.language.parameters():
            parameter.add_(0.3 * random(*parameter.shape))
    return head.eval()


def test_the_least_squares_map_recovers_prompts_whose_vectors_are_linear_images_of_words() -> None:
    """Check of the card: then it writes what the language model writes after those words."""
    head = made().double()
    words, after = torch.tensor([[3, 1, 4, 1], [5, 2, 6, 5]]), torch.tensor([[7, 0], [2, 8]])
    hidden = random(12, 8).double()
    seen = head.language.words(words) @ hidden.T  # (2, 4, 12)
    found = torch.linalg.lstsq(seen.reshape(-1, 12), head.language.words(words).reshape(-1, 8)).solution
    with torch.no_grad():
        head.map[0].weight.copy_(found.T)
        head.map[0].bias.zero_()
    got = head.forward_logits(seen, None, after)
    plain = head.language(head.language.words(torch.cat([words, after], dim=1)), None)[:, 4:]
    torch.testing.assert_close(got, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", [GPT2, OPT, LLAMA], ids=["gpt2", "opt", "llama"])
@pytest.mark.parametrize("prompt", ["tokens", "vector", "queries"])
def test_kept_keys_and_values_change_nothing_and_beams_carry_theirs(config: dict[str, Any], prompt: Any) -> None:
    head = made(config=config, prompt=prompt, length=3, layers=2)
    memory = random(5, 1 if prompt == "vector" else 4, 12)
    got = head.write(memory, None, start=4, stop=STOP, longest=6)
    ids, done = torch.full((5, 1), 4), torch.zeros(5, dtype=torch.bool)
    for _ in range(got.shape[1]):
        new = head.forward_logits(memory, None, ids)[:, -1].argmax(dim=-1).masked_fill(done, STOP)
        ids, done = torch.cat([ids, new[:, None]], dim=1), done | (new == STOP)
    assert torch.equal(got, ids[:, 1:])
    beams = head.write(memory, None, start=4, stop=STOP, longest=6, decoding=Decoding(beams=3))
    assert _sum(head, memory, beams).ge(_sum(head, memory, got) - 1e-5).all()
    mask = torch.arange(memory.shape[1])[None].expand(5, -1) < 3
    if prompt != "vector":  # what the mask hides may be anything
        other = memory.clone()
        other[:, 3:] += 7.0
        torch.testing.assert_close(head.forward_logits(memory, mask, ids), head.forward_logits(other, mask, ids))
    if prompt == "tokens":  # and may as well not be there: a stack of fewer slices beside one of more
        fewer = head.forward_logits(memory[:, :3], None, ids)
        torch.testing.assert_close(head.forward_logits(memory, mask, ids), fewer)
        written = head.write(memory, mask, start=4, stop=STOP, longest=6)
        assert torch.equal(written, head.write(memory[:, :3], None, start=4, stop=STOP, longest=6))


def _sum(head: Limber, memory: Tensor, written: Tensor) -> Tensor:
    given = torch.cat([torch.full((len(written), 1), 4), written[:, :-1]], dim=1)
    logs = head.forward_logits(memory, None, given).log_softmax(dim=2).gather(2, written[:, :, None])[:, :, 0]
    stops = (written == STOP).int()
    return torch.where(stops.cumsum(dim=1) - stops == 0, logs, 0.0).sum(dim=1)


def test_the_map_learns_and_the_language_model_is_held_without_dropout() -> None:
    model = dual(seed=1)
    options = {"config": {**GPT2, "resid_pdrop": 0.5, "attn_pdrop": 0.5}, "reads": "pooled"}
    model.mount({"captioner": HeadSpec("limber", options, keep=True)}, _nothing())
    root = torch.nn.ModuleDict({"model": model})
    set_trainable(root, ["model.heads.captioner.*", "!model.heads.captioner.language.*"], where="phases[0]")
    head: Any = model.heads["captioner"].train()
    memory, words = random(3, 2, head.map[0].in_features), torch.randint(64, (3, 5))
    logits = head.forward_logits(memory, None, words)
    assert torch.equal(logits, head.forward_logits(memory, None, words))
    logits.square().sum().backward()
    assert all(p.grad is None for p in head.language.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.map.parameters())


def _nothing() -> Any:
    from medvlp.core.keys import Plan

    return Plan.of(frozenset())


def test_a_bundle_rebuilds_the_language_model_without_its_folder(tmp_path: Path) -> None:
    for config in (GPT2, LLAMA):
        first = Language(path=None, config=config, vocab_size=9)
        whole = transformers.AutoModelForCausalLM.from_config(first.settings)
        whole.save_pretrained(tmp_path / str(config["model_type"]))
        head = made(path=str(tmp_path / str(config["model_type"])), config=None)
        assert head.released()["path"] is None
        again = Limber(memory_width=12, vocab_size=9, **head.released())  # type: ignore[arg-type]
        states = head.state_dict()
        assert len({tensor.data_ptr() for tensor in states.values()}) == len(states)  # nothing is saved twice
        again.load_state_dict(states)
        memory, words = random(2, 3, 12), torch.tensor([[1, 2], [3, 4]])
        assert torch.equal(head.forward_logits(memory, None, words), again.eval().forward_logits(memory, None, words))


def test_what_cannot_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs path or config of a language model, one of the two"):
        made(path="x")
    with pytest.raises(ConfigError, match="is 'gptt': use one that transformers knows"):
        made(config={"model_type": "gptt"})
    with pytest.raises(ConfigError, match="has 9 ids and the language model 5: use the tokenizer that belongs"):
        made(config={**GPT2, "vocab_size": 5})
    with pytest.raises(UserError, match=r"cannot be read \(\w+\): give a folder"):
        made(path=str(tmp_path), config=None)
    head = made()
    with pytest.raises(ConfigError, match="Prompt and text have 25 tokens and the language model 24 positions"):
        head.forward_logits(random(1, 20, 12), None, torch.zeros(1, 5, dtype=torch.int64))
    with pytest.raises(ConfigError, match="A prompt of a vector was given 2 of a picture"):
        made(prompt="vector").forward_logits(random(1, 2, 12), None, torch.zeros(1, 5, dtype=torch.int64))
