"""CT-CLIP: torch's functions by the release's own names, loop by loop, and transformers' BERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as f

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.registry import build
from medvlp.models.encoders.ct_vit import CTViT
from medvlp.zoo import convert
from tests.zoo.small import bert_words, changed, kept, spoilt, units
from tests.zoo.test_bert_pairs import bert, under
from tests.zoo.test_merlin import scan

WIDTH, HEADS, HEAD, HIDDEN, CODES, JOINT = 16, 2, 6, 10, 24, 32
SIDE, CELL, SLAB, GRID = 12, 4, 3, 3
SPACING = (9.0, 9.0, 40.0)
IMAGE = "visual_transformer."


def drawn() -> dict[str, Tensor]:
    """Weights in the layout of the release, of natural size."""
    made = torch.Generator().manual_seed(3)
    held: dict[str, Tensor] = {}

    def put(name: str, *shape: int, like_one: bool = False) -> None:
        size = 0.1 if len(shape) == 1 else 1.5 / max(1, int(np.prod(shape[1:]))) ** 0.5
        held[IMAGE + name] = torch.randn(shape, generator=made) * size + like_one

    def linear(name: str, out: int, into: int) -> None:
        put(f"{name}.weight", out, into)
        put(f"{name}.bias", out)

    def norm(name: str, width: int) -> None:
        put(f"{name}.weight", width, like_one=True)
        put(f"{name}.bias", width)

    for name, voxels in (("to_patch_emb", SLAB * CELL * CELL), ("to_patch_emb_first_frame", CELL * CELL)):
        norm(f"{name}.1", voxels)
        linear(f"{name}.2", WIDTH, voxels)
        norm(f"{name}.3", WIDTH)
        linear(f"{name.replace('patch_emb', 'pixels')}.0", voxels, WIDTH)
    for name, out, into in (("0.0", WIDTH, 2), ("1.0", WIDTH, WIDTH), ("2", HEADS, WIDTH)):
        linear(f"spatial_rel_pos_bias.net.{name}", out, into)
    for stack, layers in (("enc_spatial_transformer", 2), ("enc_temporal_transformer", 1)):
        gammas = [f"{stack}.norm_out"]
        for i in range(layers):
            own = f"{stack}.layers.{i}"
            put(f"{own}.0.dsconv.weight", WIDTH, 1, 3, 3, 3)
            put(f"{own}.0.dsconv.bias", WIDTH)
            gammas += [f"{own}.1.norm", f"{own}.1.context_norm"]
            put(f"{own}.1.null_kv", HEADS, 0, HEAD)
            put(f"{own}.1.to_q.weight", HEADS * HEAD, WIDTH)
            put(f"{own}.1.to_kv.weight", 2 * HEADS * HEAD, WIDTH)
            put(f"{own}.1.q_scale", HEAD, like_one=True)
            put(f"{own}.1.k_scale", HEAD, like_one=True)
            put(f"{own}.1.to_out.weight", WIDTH, HEADS * HEAD)
            norm(f"{own}.3.0", WIDTH)
            put(f"{own}.3.1.weight", 2 * HIDDEN, WIDTH)
            put(f"{own}.3.4.weight", WIDTH, HIDDEN)
        for name in gammas:
            put(f"{name}.gamma", WIDTH, like_one=True)
            held[f"{IMAGE}{name}.beta"] = torch.zeros(WIDTH)
    # Codes follow means of directions: they are a little shorter than 1.
    lengths = 0.8 + 0.2 * torch.rand(1, CODES, 1, generator=made)
    held[f"{IMAGE}vq._codebook.embed"] = lengths * f.normalize(torch.randn(1, CODES, WIDTH, generator=made), dim=-1)
    held[f"{IMAGE}vq._codebook.initted"] = torch.ones(1)
    held[f"{IMAGE}vq._codebook.cluster_size"] = torch.rand(1, CODES, generator=made)
    for name, into in (("text", 64), ("visual", GRID * GRID * WIDTH)):
        held[f"to_{name}_latent.weight"] = torch.randn(JOINT, into, generator=made) / into**0.5
        held[f"to_{name}_latent_extra.weight"] = torch.randn(JOINT, into, generator=made)
    held["text_transformer.embeddings.position_ids"] = torch.arange(512)[None]
    return held | under("text_transformer.", bert()) | {"temperature": torch.tensor(0.9)}


def attended(held: dict[str, Tensor], own: str, at: Tensor, bias: Tensor | None) -> Tensor:
    """(N, W) -> (N, W), head by head."""
    query = f.layer_norm(at, (WIDTH,), held[f"{own}norm.gamma"]) @ held[f"{own}to_q.weight"].T
    both, heads = at @ held[f"{own}to_kv.weight"].T, []
    for h in range(HEADS):
        cut = slice(h * HEAD, (h + 1) * HEAD)
        q, k = f.normalize(query[:, cut], dim=1), f.normalize(both[:, : HEADS * HEAD][:, cut], dim=1)
        score = 8 * (q * held[f"{own}q_scale"]) @ (k * held[f"{own}k_scale"]).T
        score = score if bias is None else score + bias[h]
        heads.append(score.softmax(dim=1) @ both[:, HEADS * HEAD :][:, cut])
    return torch.cat(heads, dim=1) @ held[f"{own}to_out.weight"].T


def stack(held: dict[str, Tensor], own: str, rows: Tensor, shape: tuple[int, ...], bias: Tensor | None) -> Tensor:
    """(B, N, W) -> (B, N, W); the convolution is given the rows in whatever order they lie, read as `shape`."""
    layers = sum(name.startswith(own) and name.endswith("q_scale") for name in held)
    for i in range(layers):
        at = f"{own}layers.{i}."
        wide = torch.zeros(WIDTH, shape[0] + 2, shape[1] + 2, shape[2] + 2)
        wide[:, 2:, 1:-1, 1:-1] = rows.reshape(*shape, WIDTH).permute(3, 0, 1, 2)
        kernel = held[f"{at}0.dsconv.weight"]
        near = torch.stack([f.conv3d(wide[None, None, c], kernel[c : c + 1])[0, 0] for c in range(WIDTH)], dim=-1)
        rows = rows + (near + held[f"{at}0.dsconv.bias"]).reshape(rows.shape)
        rows = rows + torch.stack([attended(held, f"{at}1.", each, bias) for each in rows])
        inner = f.layer_norm(rows, (WIDTH,), held[f"{at}3.0.weight"], held[f"{at}3.0.bias"])
        inner = inner @ held[f"{at}3.1.weight"].T
        rows = rows + (inner[..., :HIDDEN] * f.gelu(inner[..., HIDDEN:])) @ held[f"{at}3.4.weight"].T
    return f.layer_norm(rows, (WIDTH,), held[f"{own}norm_out.gamma"])


def seen(held: dict[str, Tensor], volume: Tensor) -> tuple[Tensor, Tensor]:
    """(S, H, W) from -1 to 1 -> tokens before the codebook (places, slabs, W), and (D,)."""
    held = {name.removeprefix(IMAGE): tensor for name, tensor in held.items()}
    slabs = len(volume) // SLAB
    cells = [
        volume[t * SLAB : (t + 1) * SLAB, h * CELL : (h + 1) * CELL, w * CELL : (w + 1) * CELL].flatten()
        for t in range(slabs) for h in range(GRID) for w in range(GRID)
    ]  # fmt: skip
    at = torch.stack(cells)
    at = f.layer_norm(at, (at.shape[1],), held["to_patch_emb.1.weight"], held["to_patch_emb.1.bias"])
    at = f.linear(at, held["to_patch_emb.2.weight"], held["to_patch_emb.2.bias"])
    at = f.layer_norm(at, (WIDTH,), held["to_patch_emb.3.weight"], held["to_patch_emb.3.bias"])
    bias = torch.zeros(HEADS, GRID**2, GRID**2)
    for i in range(GRID**2):
        for j in range(GRID**2):
            apart = torch.tensor([i // GRID - j // GRID, i % GRID - j % GRID]).float()
            to = apart.sign() * torch.log(apart.abs() + 1)
            for name in ("0.0", "1.0", "2"):
                own = f"spatial_rel_pos_bias.net.{name}."
                to = f.linear(to, held[f"{own}weight"], held[f"{own}bias"])
                to = to if name == "2" else f.leaky_relu(to, 0.1)
            bias[:, i, j] = to
    shape = (slabs, GRID, GRID)
    at = stack(held, "enc_spatial_transformer.", at.reshape(slabs, GRID**2, WIDTH), shape, bias)
    at = stack(held, "enc_temporal_transformer.", at.transpose(0, 1).contiguous(), shape, None)
    codes = held["vq._codebook.embed"][0]
    nearest = f.cosine_similarity(at[:, :, None], codes, dim=-1).argmax(dim=-1)
    assert len(nearest.unique()) > CODES // 3
    flat = codes[nearest].mean(dim=1).flatten()  # (places, slabs, W): over slabs
    return at, held["to_visual_latent.weight"] @ flat


def by_torch(path: Path, size: tuple[int, int, int]) -> Tensor:
    """(S, H, W) as the release makes it of a file's array, whose axes run to the left, the back and the head."""
    image = nibabel.load(path)
    values = torch.from_numpy(image.get_fdata().clip(-1000, 1000)).permute(2, 0, 1)
    mm = [float(np.linalg.norm(image.affine[:3, k])) for k in (2, 0, 1)]
    whole = [int(n * a / b) for n, a, b in zip(values.shape, mm, (SPACING[2], *SPACING[:2]), strict=True)]
    at = f.interpolate(values[None, None], size=whole, mode="trilinear", align_corners=False)[0, 0].float() / 1000
    made = torch.full(size, -1.0)
    here, there = [], []
    for n, m in zip(whole, size, strict=True):
        cut, before = max((n - m) // 2, 0), (m - min(n, m)) // 2
        here.append(slice(before, before + min(n, m)))
        there.append(slice(cut, cut + min(n, m)))
    made[tuple(here)] = at[tuple(there)]
    return made


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return drawn()


@torch.no_grad()
def test_it_computes_what_its_parts_compute(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    words, path = bert_words(tmp_path / "words"), scan(tmp_path / "ct.nii.gz")
    torch.save(weights, tmp_path / "file")
    bundle = convert(tmp_path / "file", name="ct_clip", options={"tokenizer": str(tmp_path / "words")})
    view = bundle.preprocessing[0]
    assert (view["size"], view["spacing"], view["codes"]) == ([SIDE, SIDE, 240], [0.75, 0.75, 1.5], "LPS")
    assert bundle.tokenizer is not None
    assert bundle.tokenizer.max_length == 512
    left = bundle.provenance["left_out"]
    assert isinstance(left, list)
    # Of 3 layers each 4; the first frame's layers, the way back to pixels, norms, codebook, latents, BERT.
    assert len(left) == 3 * 4 + 6 + 4 + 2 + 2 + 2 + 3, left
    bundle.preprocessing[0] |= {"size": [SIDE, SIDE, 12], "spacing": list(SPACING)}
    ours = kept(bundle, tmp_path / "bundle")
    volume = by_torch(path, (12, SIDE, SIDE))
    prepared: Any = ours.prepare(path)
    shown = prepared.pixels.pixels[:, 0]
    assert (shown.transpose(1, 2) * 2 - 1 - volume).abs().max() < 1e-5
    # 29 x 30 x 9 voxels are made of 61 x 54 x 33; the middle 12 are kept, and 9 slices lie in the middle of 12.
    corners = np.array(prepared.record.matrix) @ np.array([[0.0, 0, 0, 1], [12, 12, 12, 1]]).T
    expected = [[8 * 61 / 29, 20 * 61 / 29], [9 * 54 / 30, 21 * 54 / 30], [-33 / 9, 11 * 33 / 9]]
    assert np.abs(corners - np.array(expected)).max() < 1e-3
    tokens, vector = seen(weights, volume)
    assert np.abs(ours.embed_image(path) - units(vector[None])).max() < 1e-5
    # Codes hide what is slightly wrong, such as another GELU: so the tokens in front of them too.
    before: list[Tensor] = []
    tower: Any = bundle.model.get_submodule("towers.stack")
    tower.temporal_norm.register_forward_hook(lambda _module, _inputs, out: before.append(out))
    tower(shown[None, :, None], parts=frozenset({"pooled"}))
    assert np.abs(units(before[0]) - units(tokens)).max() < 1e-5
    text = bert()(**words(["no effusion"], return_tensors="pt")).last_hidden_state[:, 0]
    assert np.abs(ours.embed_text(["no effusion"]) - units(text @ weights["to_text_latent.weight"].T)).max() < 1e-5
    assert ours.scale == pytest.approx(np.exp(0.9), rel=1e-6)
    scores = ours.ask("zero_shot", path).scores
    assert scores is not None
    assert len(scores) == 18
    # The same scan, its axes to the right, the front and the head: the same picture.
    image = nibabel.load(path)
    affine = image.affine @ np.array([[-1.0, 0, 0, 60], [0, -1, 0, 53], [0, 0, 1, 0], [0, 0, 0, 1]])
    nibabel.Nifti1Image(image.get_fdata(dtype=np.float32)[::-1, ::-1], affine).to_filename(tmp_path / "ras.nii.gz")
    assert np.abs(ours.embed_image(tmp_path / "ras.nii.gz") - ours.embed_image(path)).max() < 1e-5


def test_changed_and_spoilt_files_are_refused(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    bert_words(tmp_path / "words")
    options, file = {"tokenizer": str(tmp_path / "words")}, tmp_path / "file"
    used = {name: tensor for name, tensor in weights.items() if "_latent_extra" not in name and "to_pixels" not in name}
    for what, held in changed(used):
        torch.save(held, file)
        with pytest.raises(DataError, match="do not fit"):
            pytest.fail(f"{what}: {convert(file, name='ct_clip', options=options)} was taken")
    layer = f"{IMAGE}enc_spatial_transformer.layers.1."
    for name, other in [
        (f"{layer}1.null_kv", torch.ones(HEADS, 2, HEAD)),
        (f"{layer}1.norm.beta", torch.ones(WIDTH)),
        (f"{IMAGE}vq._codebook.initted", torch.zeros(1)),
    ]:
        torch.save({**weights, name: other}, file)
        with pytest.raises(DataError, match=f"{name} of the checkpoint is not what every file of its kind holds"):
            convert(file, name="ct_clip", options=options)
    for name, other in [
        ("to_visual_latent.weight", torch.zeros(JOINT, 8 * WIDTH)),
        (f"{IMAGE}to_patch_emb_first_frame.1.weight", torch.zeros(12)),
    ]:
        torch.save({**weights, name: other}, file)
        with pytest.raises(DataError, match="which are no square grid of CT-CLIP: name its own weights"):
            convert(file, name="ct_clip", options=options)
    torch.save({**weights, f"{layer}2.to_q.weight": torch.zeros(2, 3)}, file)
    with pytest.raises(DataError, match=r"1 are not expected, such as .*layers\.1\.2\.to_q\.weight"):
        convert(file, name="ct_clip", options=options)
    torch.save({n: t for n, t in weights.items() if n != "to_visual_latent.weight"}, file)
    with pytest.raises(DataError, match=r"the importer ct_clip reads \(it lacks 'to_visual_latent\.weight'\)"):
        convert(file, name="ct_clip", options=options)
    torch.save(weights, file)
    with pytest.raises(UserError, match="A checkpoint of CT-CLIP brings no tokenizer: give tokenizer=FOLDER"):
        convert(file, name="ct_clip", options={})
    for what, data in spoilt(file, tmp_path / "trace"):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(UserError, match="cannot be read as weights alone"):
            pytest.fail(f"{what}: {convert(tmp_path / 'bad', name='ct_clip', options=options)} was taken")
    assert not (tmp_path / "trace").exists()


def test_a_tower_or_grid_of_another_size_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="ct_vit cuts slices 10 wide into cells of 4: let cell divide side"):
        CTViT(side=10, cell=4)
    tower = CTViT(side=8, slab=2, cell=4, width=8, layers=(1, 1), heads=2, head_width=4, hidden=6, codes=5)
    for values in (torch.zeros(1, 3, 1, 8, 8), torch.zeros(1, 4, 1, 8, 4), torch.zeros(1, 4, 2, 8, 8), ["a"]):
        with pytest.raises(ConfigError, match=r"takes stacks \(R, S, 1, 8, 8\) whose slices 2 divides, and was given"):
            tower(values, parts=frozenset())
    with pytest.raises(ConfigError, match="reads stacks of one depth, and these differ"):
        tower(torch.zeros(1, 4, 1, 8, 8), parts=frozenset(), mask=torch.tensor([[True, True, True, False]]))
    with pytest.raises(ConfigError, match="read_grid makes a stack of a volume, of a size and spacing above 0"):
        build("data/views", {"name": "read_grid", "spacing": None, "whole": True}, where="view")


def test_its_map_is_turned_back_and_gradients_pass_the_codes() -> None:
    tower = CTViT(side=8, slab=2, cell=4, width=8, layers=(1, 1), heads=2, head_width=4, hidden=6, codes=50)
    stacks = torch.randn(2, 6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    rows = tower(stacks, parts=frozenset({"pooled", "tokens"}))
    pooled, tokens = rows.part("pooled"), rows.part("tokens").unflatten(1, rows.grid)  # pyrefly: ignore
    assert (tokens.reshape(-1, 1, 8) == tower.codes).all(dim=-1).any(dim=-1).all()
    torch.testing.assert_close(tokens.mean(dim=1).transpose(1, 2).reshape(2, -1), pooled)
    alone = tower(stacks[1:], parts=frozenset({"pooled"})).part("pooled")
    torch.testing.assert_close(alone, pooled[1:])
    pooled.square().sum().backward()
    still = {name for name, each in tower.named_parameters() if each.grad is None or not bool(each.grad.any())}
    assert still <= {"bias.4.bias"}, still  # what is added to all scores of a head changes nothing
