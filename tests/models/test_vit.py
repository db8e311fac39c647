"""The frame encoder: order of patches, class token, positions; a network of hand-set weights."""

from __future__ import annotations

import torch
from torch import nn

from fewframes.models.layers import PreNormBlock, init_transformer_, wave_positions
from fewframes.models.vit import ENCODER_SIZES, FrameEncoder, PatchEmbed
from tests.helpers.tolerance import BY_HAND, REGROUPED, assert_close


class Keep(nn.Module):
    """A block that remembers its input and passes it on."""

    def forward(self, tokens_FND: torch.Tensor) -> torch.Tensor:
        self.tokens_FND = tokens_FND
        return tokens_FND


def test_patches_run_row_by_row() -> None:
    # Patches of 1x1 pixel, one output that sums the channels with weights 100, 10, 1.
    patches = PatchEmbed(1, 1)
    with torch.no_grad():
        patches.proj.weight.copy_(torch.tensor([100.0, 10.0, 1.0]).reshape(1, 3, 1, 1))
        patches.proj.bias.zero_()
    frame = torch.arange(6.0).reshape(1, 1, 2, 3).repeat(1, 3, 1, 1)
    assert patches(frame).flatten().tolist() == [0, 111, 222, 333, 444, 555]


def test_a_patch_sees_its_own_pixels_only() -> None:
    patches = PatchEmbed(5, 7)
    frame = torch.zeros(1, 3, 10, 15)
    empty = patches(frame)
    frame[:, :, 5:, 10:] = 1.0  # the lower right one of 2 x 3 patches
    changed = (patches(frame) - empty).abs().sum(-1)[0] > 0
    assert changed.tolist() == [False, False, False, False, False, True]


def test_tokens_are_class_token_then_patches_plus_positions() -> None:
    keep = Keep()
    encoder = FrameEncoder((10, 15), 5, width=7, blocks=[keep])
    init_transformer_(encoder, torch.Generator().manual_seed(2))
    frames = torch.rand(2, 3, 10, 15)
    embedding = encoder(frames)
    patches = encoder.patch_embed(frames)
    for index in range(2):
        assert_close(keep.tokens_FND[index, 0], encoder.cls_token[0, 0] + encoder.pos_embed[0, 0], BY_HAND)
        assert_close(keep.tokens_FND[index, 1:], patches[index] + encoder.pos_embed[0, 1:], BY_HAND)
    assert_close(embedding, encoder.norm(keep.tokens_FND)[:, 0], REGROUPED)


def test_the_embedding_is_the_normed_class_token_by_hand() -> None:
    encoder = FrameEncoder((5, 5), 5, width=2, blocks=[], norm_eps=1e-12)
    with torch.no_grad():
        encoder.cls_token.copy_(torch.tensor([[[3.0, -1.0]]]))
        encoder.norm.weight.copy_(torch.tensor([2.0, 3.0]))
        encoder.norm.bias.copy_(torch.tensor([0.5, 0.0]))
    # The norm of (3, -1) is (1, -1), whatever the frame shows.
    expected = torch.tensor([[2.5, -3.0], [2.5, -3.0]])
    assert_close(encoder(torch.rand(2, 3, 5, 5)), expected, BY_HAND)


def test_blocks_run_in_order() -> None:
    class Step(nn.Module):
        def __init__(self, factor: float, shift: float) -> None:
            super().__init__()
            self.factor, self.shift = factor, shift

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return tokens * self.factor + self.shift

    keep = Keep()
    encoder = FrameEncoder((5, 5), 5, width=2, blocks=[Step(0, 3), Step(2, 1), keep])
    encoder(torch.rand(1, 3, 5, 5))
    assert torch.equal(keep.tokens_FND, torch.full((1, 2, 2), 7.0))


def test_starting_positions_name_row_and_column() -> None:
    encoder = FrameEncoder((10, 15), 5, width=11, blocks=[])  # 2 rows, 3 columns; an odd width is split 6 and 5
    encoder.init_positions_()
    assert encoder.grid == (2, 3)
    positions = encoder.pos_embed.detach()[0]
    rows, columns = wave_positions(torch.arange(2), 6), wave_positions(torch.arange(3), 5)
    assert not positions[0].any(), "the class token has no place"
    for row in range(2):
        for column in range(3):
            expected = torch.cat([rows[row], columns[column]])
            assert torch.equal(positions[1 + 3 * row + column], expected)


def test_frames_are_encoded_on_their_own() -> None:
    encoder = FrameEncoder((10, 15), 5, width=12, blocks=[PreNormBlock(12, 3, mlp_width=17)])
    init_transformer_(encoder, torch.Generator().manual_seed(4))
    encoder.init_positions_()
    frames = torch.rand(3, 3, 10, 15, generator=torch.Generator().manual_seed(5))
    together = encoder(frames)
    for index in range(3):
        assert_close(together[index : index + 1], encoder(frames[index : index + 1]), REGROUPED)


def test_known_sizes() -> None:
    """Width, depth and heads of ViT-Ti, S, B, L and H; heads are 64 wide, but 80 in ViT-H."""
    sizes = {name: (size["width"], size["depth"], size["heads"]) for name, size in ENCODER_SIZES.items()}
    assert sizes == {
        "tiny": (192, 12, 3),
        "small": (384, 12, 6),
        "base": (768, 12, 12),
        "large": (1024, 24, 16),
        "huge": (1280, 32, 16),
    }
    assert ENCODER_SIZES["huge"]["patch_size"] == 14
