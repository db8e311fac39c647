"""Filling a network: every known layout, what may differ and is reported, and what must be refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint, UnsafePickle
from fewframes.models.stam import Stam, StamConfig
from fewframes.weights.loading import LoadReport, load_weights
from fewframes.weights.resize import resize_positions_in_space, resize_positions_in_time
from tests.helpers.tolerance import PARITY, assert_close
from tests.weights.release import TINY, release_tensors

MEAN = dataclasses.replace(TINY, aggregator="mean")


def new_model(config: StamConfig = TINY, **changes: Any) -> Stam:  # noqa: ANN401
    return Stam(dataclasses.replace(config, **changes), torch.Generator().manual_seed(53)).eval()


def saved(tensors: dict[str, Tensor], folder: Path, *, name: str = "weights.pth") -> Path:
    path = folder / name
    if name.endswith(".safetensors"):
        save_file(tensors, path)
    else:
        torch.save({"model": tensors}, path)
    return path


def assert_refused(model: Stam, path: Path, message: str) -> None:
    """The load fails with this message, and the network is what it was."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InvalidCheckpoint, match=message):
        load_weights(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_second_release(tmp_path: Path) -> None:
    tensors, model = release_tensors(TINY), new_model()
    path = saved(tensors, tmp_path)
    report = load_weights(model, path)
    state = model.state_dict()
    assert report == LoadReport(source=str(path), layout="STAM release", loaded=tuple(state))
    assert torch.equal(state["encoder.blocks.1.attn.qkv.bias"], tensors["blocks.1.attn.qkv.bias"])
    third = tensors["aggregate.transformer_enc.layers.2.self_attn.in_proj_weight"]
    assert torch.equal(state["aggregate.layers.2.attn.qkv.weight"], third)
    assert report.summary() == f"{path}: STAM release layout, {len(state)} tensors loaded"


def test_first_release_has_no_bias_and_gets_zeros(tmp_path: Path) -> None:
    tensors, model = release_tensors(TINY, version=1), new_model()
    nn.init.ones_(model.encoder.blocks[0].attn.qkv.bias)
    report = load_weights(model, saved(tensors, tmp_path))
    assert not model.encoder.blocks[0].attn.qkv.bias.any()
    assert not report.newly_initialised
    assert len(report.loaded) == len(model.state_dict()) - TINY.depth
    assert "set to zero, which is the same" in report.summary()
    without = new_model(qkv_bias=False)
    assert not load_weights(without, saved(tensors, tmp_path)).notes
    clip = torch.rand(2, 8, 3, 12, 12)
    assert_close(model(clip), without(clip), PARITY)


def test_some_biases_missing_is_damage(tmp_path: Path) -> None:
    tensors = release_tensors(TINY)
    del tensors["blocks.1.attn.qkv.bias"]
    assert_refused(new_model(), saved(tensors, tmp_path), r"encoder\.blocks\.1\.attn\.qkv\.bias is missing")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_containers_and_prefixes(name: str, prefix: str, tmp_path: Path) -> None:
    path = saved({prefix + key: value for key, value in release_tensors(TINY).items()}, tmp_path, name=name)
    first, second = new_model(), new_model()
    load_weights(first, path)
    load_weights(second, saved(release_tensors(TINY), tmp_path, name="plain.pth"))
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())


@pytest.mark.parametrize("aggregator", ["official", "paper", "mean"])
def test_our_own_tensors(aggregator: str, tmp_path: Path) -> None:
    theirs = Stam(dataclasses.replace(TINY, aggregator=aggregator), torch.Generator().manual_seed(59))
    model = new_model(aggregator=aggregator)
    report = load_weights(model, saved(theirs.state_dict(), tmp_path))
    assert report.layout == "fewframes"
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in model.state_dict().items())


def timms_vit(*, qkv_bias: bool = True, num_classes: int = 0) -> VisionTransformer:
    torch.manual_seed(61)
    vit = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=30, depth=3, num_heads=5, qkv_bias=qkv_bias, num_classes=num_classes
    )
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.normal_(mean=0.1, std=0.3)
    return vit.eval()


def config_of_timms_vit(**changes: Any) -> StamConfig:  # noqa: ANN401
    config = dataclasses.replace(
        MEAN, image_size=(32, 32), patch_size=8, width=30, depth=3, heads=5, mlp_ratio=4.0, norm_eps=1e-6
    )
    return dataclasses.replace(config, **changes)


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("ours_has_bias", [True, False])
@torch.no_grad()
def test_timms_vit(qkv_bias: bool, ours_has_bias: bool, tmp_path: Path) -> None:
    vit = timms_vit(qkv_bias=qkv_bias)
    path = saved(vit.state_dict(), tmp_path, name="vit.safetensors")
    model = new_model(config_of_timms_vit(qkv_bias=ours_has_bias))
    if qkv_bias and not ours_has_bias:
        assert_refused(model, path, r"encoder\.blocks\.0\.attn\.qkv\.bias \(90\) is left over")
        return
    report = load_weights(model, path)
    assert report.layout.startswith("ViT")
    assert report.newly_initialised == ("head.weight", "head.bias")
    assert ("qkv.bias" in report.summary()) == (ours_has_bias and not qkv_bias)
    frames = torch.rand(2, 7, 3, 32, 32, generator=torch.Generator().manual_seed(67))
    expected = vit.forward_features(frames.flatten(0, 1))[:, 0].unflatten(0, (2, 7))
    assert_close(model.embed_frames(frames), expected, PARITY)


def test_an_image_vit_leaves_the_aggregator_new_and_says_so(tmp_path: Path) -> None:
    path = saved(timms_vit(num_classes=1009).state_dict(), tmp_path, name="vit.pth")
    model = new_model(config_of_timms_vit(aggregator="official", norm_eps=1e-5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = load_weights(model, path)
    new = {name for name in before if not name.startswith("encoder.")}
    assert set(report.newly_initialised) == new
    assert set(report.loaded) == set(before) - new
    assert report.unused == ("head.weight (1009, 30)", "head.bias (1009)")
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in new)
    assert "newly initialised: aggregate.cls_token, aggregate.pos_embed" in report.summary()
    assert f"and {len(new) - 4} more" in report.summary()
    assert "not used: head.weight (1009, 30), head.bias (1009)" in report.summary()
    assert "trained with norm_eps=1e-6" in report.summary()
    assert "this model has norm_eps=1e-05" in report.summary()


def test_a_head_of_other_classes_is_left_out_and_said(tmp_path: Path) -> None:
    path = saved(release_tensors(dataclasses.replace(TINY, num_classes=400)), tmp_path)
    model = new_model(num_classes=5)
    head = model.head.weight.clone()
    report = load_weights(model, path)
    assert report.newly_initialised == ("head.weight", "head.bias")
    assert report.unused == ("head.weight (400, 10)", "head.bias (400)")
    assert torch.equal(model.head.weight, head)


def test_a_new_head_though_the_old_one_fits(tmp_path: Path) -> None:
    tensors = release_tensors(TINY)
    path, model = saved(tensors, tmp_path), new_model()
    head = model.head.weight.clone()
    report = load_weights(model, path, new_head=True)
    assert report.newly_initialised == ("head.weight", "head.bias")
    assert report.unused == ("head.weight (13, 10)", "head.bias (13)")
    assert torch.equal(model.head.weight, head)
    load_weights(model, path)
    assert torch.equal(model.head.weight, tensors["head.weight"])


def test_eight_frames_into_sixteen(tmp_path: Path) -> None:
    tensors, model = release_tensors(TINY), new_model(num_frames=16)
    report = load_weights(model, saved(tensors, tmp_path))
    assert report.resized == ("aggregate.pos_embed: (1, 9, 10) -> (1, 17, 10)",)
    assert "aggregate.pos_embed" not in report.loaded
    assert torch.equal(model.aggregate.pos_embed, resize_positions_in_time(tensors["aggregate.pos_embed"], 16))
    assert "resized aggregate.pos_embed: (1, 9, 10) -> (1, 17, 10)" in report.summary()


@pytest.mark.parametrize(
    ("size", "grid"),
    [((20, 12), (5, 3)), ((4, 8), (1, 2)), ((4, 36), (1, 9))],  # the last has nine patches too, in one row
)
def test_a_square_file_into_another_grid(size: tuple[int, int], grid: tuple[int, int], tmp_path: Path) -> None:
    tensors, model = release_tensors(TINY), new_model(image_size=size)
    report = load_weights(model, saved(tensors, tmp_path))
    assert report.resized == (f"encoder.pos_embed: (1, 10, 10) -> (1, {1 + grid[0] * grid[1]}, 10)",)
    assert torch.equal(model.encoder.pos_embed, resize_positions_in_space(tensors["pos_embed"], (3, 3), grid))


def own_folder(tmp_path: Path, size: tuple[int, int]) -> tuple[Path, Stam]:
    """A folder like those that training writes, of a network for frames of this size."""
    theirs = Stam(dataclasses.replace(TINY, image_size=size), torch.Generator().manual_seed(71))
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    content = {"config": {"image_size": size, "patch_size": 4}}
    (tmp_path / "model.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path, theirs


def _bare(folder: Path) -> Path:
    return (folder / "weights.safetensors").rename(folder / "bare.safetensors")


@pytest.mark.parametrize("size", [(16, 12), (24, 8), (8, 24), (4, 48), (12, 16)])
def test_our_own_folder_states_its_grid(size: tuple[int, int], tmp_path: Path) -> None:
    """3 x 4 patches: as many as in all these sizes, but elsewhere in the picture in all but the last."""
    folder, theirs = own_folder(tmp_path, (12, 16))
    for source in (folder, folder / "weights.safetensors"):
        model = new_model(image_size=size)
        report = load_weights(model, source)
        if size == (12, 16):
            assert not report.resized
            assert torch.equal(model.encoder.pos_embed, theirs.encoder.pos_embed)
        else:
            grid = (size[0] // 4, size[1] // 4)
            assert report.resized == ("encoder.pos_embed: (1, 13, 10) -> (1, 13, 10)",)
            expected = resize_positions_in_space(theirs.encoder.pos_embed, (3, 4), grid)
            assert torch.equal(model.encoder.pos_embed, expected)
        assert not report.notes


def test_our_own_tensors_without_a_stated_grid(tmp_path: Path) -> None:
    """A bare file of 2 x 8 patches goes into 2 x 8 as it is, though 16 would also be 4 x 4; a note says so."""
    _, theirs = own_folder(tmp_path, (8, 32))
    bare = _bare(tmp_path)
    model = new_model(image_size=(8, 32))
    report = load_weights(model, bare)
    assert torch.equal(model.encoder.pos_embed, theirs.encoder.pos_embed)
    assert report.notes == ("the file does not state its patch grid; taken to be 2x8",)
    # 2 x 8 is no 4 x 3, and 16 patches of an unstated grid are then taken for a square.
    square = new_model(image_size=(16, 12))
    assert load_weights(square, bare).notes == ("the file does not state its patch grid; taken to be 4x4",)
    assert_refused(
        new_model(image_size=(12, 16)), _bare(own_folder(tmp_path, (8, 20))[0]), r"is \(1, 11, 10\), expected"
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"config": {"image_size": [8, 32], "patch_size": 0}}', '"x"'])
def test_a_damaged_record_states_no_grid(content: str, tmp_path: Path) -> None:
    own_folder(tmp_path, (8, 32))
    (tmp_path / "model.json").write_text(content)
    assert "taken to be 2x8" in load_weights(new_model(image_size=(8, 32)), tmp_path).summary()


def test_a_foreign_file_beside_one_of_our_records(tmp_path: Path) -> None:
    own_folder(tmp_path, (4, 36))
    path = saved(release_tensors(TINY), tmp_path, name="weights.safetensors")
    assert load_weights(new_model(), path).resized == ()


def test_another_float_type_is_converted_and_said(tmp_path: Path) -> None:
    tensors = {name: value.half() for name, value in release_tensors(TINY).items()}
    model = new_model()
    report = load_weights(model, saved(tensors, tmp_path))
    assert report.notes == ("the file holds float16; converted to the model's own type",)
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, tensors["head.weight"].float())


def test_a_missing_tensor(tmp_path: Path) -> None:
    tensors = release_tensors(TINY)
    del tensors["blocks.1.mlp.fc1.weight"], tensors["aggregate.transformer_enc.layers.0.linear2.bias"]
    message = r"encoder\.blocks\.1\.mlp\.fc1\.weight is missing; aggregate\.layers\.0\.linear2\.bias is missing"
    assert_refused(new_model(), saved(tensors, tmp_path), message)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("norm.weight", (11,), r"encoder\.norm\.weight is \(11\), expected \(10\)"),
        ("blocks.0.attn.qkv.weight", (10, 30), r"qkv\.weight is \(10, 30\), expected \(30, 10\)"),
        ("pos_embed", (1, 10, 11), r"encoder\.pos_embed is \(1, 10, 11\), expected \(1, 10, 10\)"),
        ("pos_embed", (1, 12, 10), r"encoder\.pos_embed is \(1, 12, 10\)"),
        ("pos_embed", (2, 17, 10), r"encoder\.pos_embed is \(2, 17, 10\)"),
        ("pos_embed", (1, 0, 10), r"encoder\.pos_embed is \(1, 0, 10\)"),
        ("pos_embed", (1, 1, 10), r"encoder\.pos_embed is \(1, 1, 10\)"),
        ("pos_embed", (10, 10), r"encoder\.pos_embed is \(10, 10\)"),
        ("aggregate.pos_embed", (1, 1, 10), r"aggregate\.pos_embed is \(1, 1, 10\)"),
        ("aggregate.pos_embed", (1, 9, 12), r"aggregate\.pos_embed is \(1, 9, 12\)"),
        ("head.weight", (13, 11), r"head\.weight is \(13, 11\), expected \(13, 10\)"),
        ("head.bias", (7,), r"head\.bias is \(7\), expected \(13\)"),
    ],
)
def test_a_misshapen_tensor(name: str, shape: tuple[int, ...], message: str, tmp_path: Path) -> None:
    tensors = release_tensors(TINY) | {name: torch.ones(shape)}
    assert_refused(new_model(), saved(tensors, tmp_path), message)


def test_half_a_head(tmp_path: Path) -> None:
    tensors = release_tensors(TINY)
    del tensors["head.bias"]
    assert_refused(new_model(), saved(tensors, tmp_path), r"head\.bias is missing")


def test_an_extra_tensor(tmp_path: Path) -> None:
    tensors = release_tensors(TINY) | {"fc_norm.weight": torch.ones(3, 2)}
    assert_refused(new_model(), saved(tensors, tmp_path), r"encoder\.fc_norm\.weight \(3, 2\) is left over")


def test_other_sizes_are_all_named_up_to_six(tmp_path: Path) -> None:
    path = saved(release_tensors(dataclasses.replace(TINY, depth=4)), tmp_path)
    message = r"\(STAM release layout\) does not fit this model: .*left over; and 18 more; build the model with the fil"
    assert_refused(new_model(), path, message)


@pytest.mark.parametrize("aggregator", ["paper", "mean"])
def test_a_release_file_into_another_aggregator(aggregator: str, tmp_path: Path) -> None:
    assert_refused(
        new_model(aggregator=aggregator), saved(release_tensors(TINY), tmp_path), "does not fit this model: aggreg"
    )


def test_an_unknown_layout(tmp_path: Path) -> None:
    path = saved({"layer4.weight": torch.ones(2), "fc.bias": torch.ones(1)}, tmp_path)
    message = r"unknown layout \(tensors such as fc\.bias, layer4\.weight\); known: fewframes; .*STAM release; .*ViT"
    assert_refused(new_model(), path, message)


def test_a_tensor_of_nan(tmp_path: Path) -> None:
    tensors = release_tensors(TINY)
    tensors["norm.bias"][3] = torch.nan
    assert_refused(new_model(), saved(tensors, tmp_path), r"tensor 'norm\.bias' holds values that are not finite")


def test_no_file_an_empty_one_and_a_folder_without_weights(tmp_path: Path) -> None:
    assert_refused(new_model(), tmp_path / "none.pth", "no weights at")
    (tmp_path / "empty.pth").touch()
    assert_refused(new_model(), tmp_path / "empty.pth", "is empty")
    assert_refused(new_model(), tmp_path, r"no weights at .*weights\.safetensors")


def test_an_unsafe_pickle(tmp_path: Path) -> None:
    torch.save({"model": release_tensors(TINY), "args": tmp_path}, tmp_path / "weights.pth")
    with pytest.raises(UnsafePickle):
        load_weights(new_model(), tmp_path / "weights.pth")


def test_a_network_that_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match="no table of names for a Linear; build the model with build_model"):
        load_weights(nn.Linear(2, 3), saved(release_tensors(TINY), tmp_path))
