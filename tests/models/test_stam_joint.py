"""Joint attention: with one frame the image ViT, its tokens in order, what each sees, positions, refusals, exports."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewframes.benchmark import measure_cost
from fewframes.errors import UsageError
from fewframes.models.layers import wave_positions
from fewframes.models.positions import PositionTable
from fewframes.models.stam import Stam, StamConfig
from fewframes.models.stam_joint import StamJoint, StamJointConfig
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import BY_HAND, MISTAKE, REGROUPED, assert_close, difference

# B=2, T=5, H=22, W=33 (2 x 3 patches of 11, so P=6 and N=31), D=28, A=7, K=13.
CONFIG = StamJointConfig(
    num_classes=13, num_frames=5, image_size=(22, 33), patch_size=11, width=28, depth=3, heads=7, mlp_ratio=1.5
)


def model_of(**changes: Any) -> StamJoint:  # noqa: ANN401
    return StamJoint(dataclasses.replace(CONFIG, **changes), torch.Generator().manual_seed(19)).eval()


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 5, 3, 22, 33, generator=torch.Generator().manual_seed(23))


@torch.no_grad()
def test_with_one_frame_it_is_the_image_vit(clip: Tensor) -> None:
    """The same tensors under the same names, and the same logits bit for bit."""
    joint = model_of(num_frames=1)
    fields = {name: value for name, value in dataclasses.asdict(joint.config).items()}
    image = Stam(StamConfig(**fields, aggregator="mean"), torch.Generator().manual_seed(41)).eval()
    image.load_state_dict(joint.state_dict(), strict=True)
    assert torch.equal(joint(clip[:, :1]), image(clip[:, :1]))


def by_hand(model: StamJoint, clip_BTCHW: Tensor) -> Tensor:
    """The network once more, each frame's patches cut on their own and then put behind each other."""
    encoder = model.encoder
    patches = torch.cat([encoder.patch_embed(frame) for frame in clip_BTCHW.unbind(1)], dim=1)
    tokens = torch.cat([encoder.cls_token.expand(clip_BTCHW.shape[0], -1, -1), patches], dim=1) + encoder.pos_embed
    for block in encoder.blocks:
        tokens = block(tokens)
    result: Tensor = model.head(encoder.norm(tokens)[:, 0])
    return result


@torch.no_grad()
def test_tokens_run_by_frame_then_row_then_column(clip: Tensor) -> None:
    model = model_of()
    assert_close(model(clip), by_hand(model, clip), REGROUPED)
    # Broken twins: frames backwards, rows and columns of a frame swapped.
    assert difference(model(clip.flip(1)), by_hand(model, clip)) > MISTAKE
    swapped = model_of()
    patches = swapped.encoder.pos_embed[:, 1:].unflatten(1, (5, 2, 3)).transpose(2, 3).flatten(1, 3)
    swapped.encoder.pos_embed[:, 1:] = patches.clone()
    assert difference(swapped(clip), by_hand(model, clip)) > MISTAKE


@torch.no_grad()
def test_frames_and_their_positions_may_change_places_together(clip: Tensor) -> None:
    model, moved = model_of(), model_of()
    order = torch.tensor([3, 0, 4, 1, 2])
    positions = moved.encoder.pos_embed
    positions[:, 1:] = positions[:, 1:].unflatten(1, (5, 6))[:, order].flatten(1, 2)
    assert_close(moved(clip[:, order]), model(clip), REGROUPED)
    assert difference(model(clip[:, order]), model(clip)) > MISTAKE


def test_every_patch_sees_every_patch_of_every_frame(clip: Tensor) -> None:
    """After one block: the gradient of one patch's token reaches every pixel of the clip."""
    encoder = model_of(depth=1).encoder
    tall = clip[:1].transpose(1, 2).flatten(2, 3).requires_grad_()
    encoder.blocks[0](encoder.embed_tokens(tall))[0, 8].sum().backward()
    assert tall.grad is not None
    assert tall.grad.abs().sum(1).gt(0).all()


def test_starting_positions_are_waves_of_place_plus_waves_of_time() -> None:
    table = model_of(width=21, heads=7).encoder.pos_embed.detach()[0]
    assert table.shape == (31, 21)
    assert not table[0].any()
    rows, columns, times = (wave_positions(torch.arange(n), w) for n, w in ((2, 11), (3, 10), (5, 21)))
    for t in range(5):
        for row in range(2):
            for column in range(3):
                expected = torch.cat([rows[row], columns[column]]) + times[t]
                assert_close(table[1 + 6 * t + 3 * row + column], expected, BY_HAND)


def test_position_tables() -> None:
    (table,) = model_of().position_tables()
    assert table == PositionTable("encoder.pos_embed", has_class=True, grid=(5, 2, 3))
    assert model_of().state_dict()[table.name].shape == (1, table.num_tokens, 28)


def test_cost_by_hand() -> None:
    d, tokens, inner = 28, 31, 42
    linear = 30 * d * 3 * 11 * 11 + 3 * tokens * (4 * d * d + 2 * d * inner) + d * 13
    cost = measure_cost(model_of(), (5, 3, 22, 33))
    assert cost.macs_without_attention_products == linear
    assert cost.macs == linear + 3 * 2 * tokens * tokens * d


def test_full_size() -> None:
    """The ViT's 86.1 M parameters and 16 times its positions; the products alone cost more than a third."""
    with torch.device("meta"):
        model = StamJoint(StamJointConfig())
    cost = measure_cost(model, (16, 3, 224, 224))
    assert cost.num_parameters == 86_106_256 + 15 * 196 * 768
    assert (cost.macs - cost.macs_without_attention_products) == 12 * 2 * 3137**2 * 768


@torch.no_grad()
def test_batches_and_types(clip: Tensor) -> None:
    model = model_of()
    assert_close(model(clip), torch.cat([model(clip[:1]), model(clip[1:])]), REGROUPED)
    assert model(clip[:0]).shape == (0, 13)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(clip)
    assert logits.dtype == torch.float32
    assert_close(logits, model(clip), 0.05)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 3, 33, 22), r"clip is \(2, 5, 3, 33, 22\) float32; expected \(B, T, 3, 22, 33\)"),
        ((2, 3, 5, 22, 33), r"clip is \(2, 3, 5, 22, 33\)"),
        ((2, 4, 3, 22, 33), "clip has 4 frames but the model needs 5; sample with count=5"),
    ],
)
def test_a_clip_that_does_not_fit(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_of()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[({name: 0}, f"{name} is 0; expected") for name in ("num_classes", "num_frames", "width", "depth", "heads")],
        ({"patch_size": 10}, "image_size is 22x33; expected height and width, multiples of patch_size, 10"),
        ({"heads": 5}, "width is 28; expected a multiple of heads, 5"),
        ({"norm_eps": 0.0}, r"norm_eps is 0\.0"),
        ({"mlp_ratio": 0.01}, r"mlp_ratio is 0\.01"),
        ({"drop_path": 1.0}, r"drop_path is 1\.0"),
    ],
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_every_parameter_learns(clip: Tensor) -> None:
    model = model_of().train()
    nn.functional.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@torch.no_grad()
def test_export_with_any_batch_size(clip: Tensor) -> None:
    model = model_of()
    exported = torch.export.export(model, (clip,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = torch.cat([clip, 1 - clip, clip[:1]])
    assert_close(exported.module()(more), model(more), REGROUPED)


def test_same_generator_same_weights_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    first = model_of().state_dict()
    torch.manual_seed(2)
    second = model_of().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_drop_path_grows_linearly_with_depth() -> None:
    rates = [block.drop_path.probability for block in model_of(depth=5, drop_path=0.2).encoder.blocks]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


def test_shape_suffixes_tell_the_truth(clip: Tensor) -> None:
    with true_shapes() as log:
        model_of()(clip)
    assert {
        "stam_joint.py:forward:tall_BCYW",
        "stam_joint.py:forward:logits_BK",
        "stam_joint.py:_init_positions_:of_place_PD",
        "stam_joint.py:_init_positions_:of_time_TD",
        "stam_joint.py:_init_positions_:positions_ND",
    } <= log.checked
