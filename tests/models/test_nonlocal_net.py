"""Non-local networks: pytorchvideo's I3D and block, what zero does at the start, published sizes, refusals."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.benchmark import measure_cost
from fewframes.errors import UsageError
from fewframes.models import nonlocal_net
from fewframes.models.nonlocal_net import NonLocalBlock, NonLocalNet, NonLocalNetConfig
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import MISTAKE, PARITY, assert_close, difference

# Every size differs from every other: B=2, T=11, H=37, W=53, K=13, a stem of 6 channels.
CONFIG = NonLocalNetConfig(
    num_classes=13,
    num_frames=11,
    image_size=(37, 53),
    blocks=(1, 2, 3, 1),
    width=6,
    nonlocal_res3=(1,),
    nonlocal_res4=(0, 2),
)
PLAIN: dict[str, Any] = {"nonlocal_res3": (), "nonlocal_res4": ()}
R101: dict[str, Any] = {"blocks": (3, 4, 23, 3), "num_frames": 128, "image_size": (256, 256)}


def model_of(**changes: Any) -> NonLocalNet:  # noqa: ANN401
    return NonLocalNet(dataclasses.replace(CONFIG, **changes), torch.Generator().manual_seed(19)).eval()


def randomise(model: nn.Module) -> None:
    """Away from the start, where non-local blocks do nothing and norms are the identity."""
    generator = torch.Generator().manual_seed(29)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                assert value is not None
                nn.init.uniform_(value, 0.4, 0.8, generator=generator)
        elif isinstance(module, nn.Conv3d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1, generator=generator)


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 11, 3, 37, 53, generator=torch.Generator().manual_seed(23))


def test_a_non_local_block_by_hand() -> None:
    """One frame of 2 x 3 places with the numbers 1 to 6: pooling leaves only the largest of the first 2 x 2, 5."""
    block = NonLocalBlock(1).eval()
    state = {"theta": 1.0, "phi": 1.0, "g": 3.0, "out": 2.0}
    for name, value in state.items():
        nn.init.constant_(block.get_submodule(name).weight, value)  # type: ignore[arg-type]
        nn.init.zeros_(block.get_submodule(name).bias)  # type: ignore[arg-type]
    nn.init.constant_(block.norm.weight, (1 + 1e-5) ** 0.5)
    maps = torch.arange(1.0, 7.0).view(1, 1, 1, 2, 3)
    # One place to attend to, so its weight is 1: everything gains 2 * 3 * 5.
    assert_close(block(maps), maps + 30, PARITY)


def test_attention_by_hand() -> None:
    """Two frames, each pooled to one place: 3 and 1. Weights are a softmax of the products with each place."""
    block = NonLocalBlock(1).eval()
    for name in ("theta", "phi", "g", "out"):
        nn.init.constant_(block.get_submodule(name).weight, 1.0)  # type: ignore[arg-type]
        nn.init.zeros_(block.get_submodule(name).bias)  # type: ignore[arg-type]
    nn.init.constant_(block.norm.weight, (1 + 1e-5) ** 0.5)
    maps = torch.tensor([[[[[3.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [0.5, 1.0]]]]])
    gains = [(3 * torch.exp(3 * x) + torch.exp(x)) / (torch.exp(3 * x) + torch.exp(x)) for x in maps.flatten()]
    assert_close(block(maps), maps + torch.stack(gains).view_as(maps), PARITY)


def pytorchvideos(name: str, **options: Any) -> Any:  # noqa: ANN401
    """What a builder of pytorchvideo makes; its import warns of a deprecated torch.jit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, _, function = name.rpartition(".")
        build = getattr(pytest.importorskip(module), function)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(31)
        return build(**options).eval()


@torch.no_grad()
def test_parity_of_the_block_with_pytorchvideo() -> None:
    theirs = pytorchvideos(
        "pytorchvideo.layers.nonlocal_net.create_nonlocal", dim_in=10, dim_inner=5, pool_size=(1, 2, 2)
    )
    block = NonLocalBlock(10).eval()
    names = {"conv_theta": "theta", "conv_phi": "phi", "conv_g": "g", "conv_out": "out", "norm": "norm"}
    randomise(theirs)
    for their_name, our_name in names.items():
        block.get_submodule(our_name).load_state_dict(getattr(theirs, their_name).state_dict())
    maps = torch.randn(2, 10, 3, 4, 7, generator=torch.Generator().manual_seed(37))
    expected = theirs(maps)
    assert_close(block(maps), expected, PARITY)
    block.phi, block.g = block.g, block.phi
    assert difference(block(maps), expected) > MISTAKE


def load_pytorchvideos(ours: NonLocalNet, theirs: Any) -> None:  # noqa: ANN401
    """Copy an I3D of pytorchvideo, layer by layer; there is a pool among its blocks."""
    blocks = [block for block in theirs.blocks if hasattr(block, "res_blocks")]
    trunk = ours.trunk
    trunk.conv1.load_state_dict(theirs.blocks[0].conv.state_dict())
    trunk.bn1.load_state_dict(theirs.blocks[0].norm.state_dict())
    for stage, block in enumerate(blocks, start=1):
        for own, other in zip(trunk.get_submodule(f"layer{stage}"), block.res_blocks, strict=True):  # type: ignore[call-overload]
            branch = other.branch2
            for name, source in {
                "conv1": branch.conv_a,
                "bn1": branch.norm_a,
                "conv2": branch.conv_b,
                "bn2": branch.norm_b,
                "conv3": branch.conv_c,
                "bn3": branch.norm_c,
            }.items():
                getattr(own, name).load_state_dict(source.state_dict())
            if own.downsample is not None:
                own.downsample[0].load_state_dict(other.branch1_conv.state_dict())
                own.downsample[1].load_state_dict(other.branch1_norm.state_dict())
    ours.head.load_state_dict(theirs.blocks[-1].proj.state_dict())


def three_frames_in_the_wrong_blocks(model: NonLocalNet) -> None:
    """Time is looked across in the middle of the kernel alone."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size == (3, 1, 1):
            module.weight[:, :, [0, 2]] = 0


def no_pool_over_time(model: NonLocalNet) -> None:
    model.trunk.timepool = nn.MaxPool3d(1, stride=(2, 1, 1))


def stem_backwards(model: NonLocalNet) -> None:
    model.trunk.conv1.weight.copy_(model.trunk.conv1.weight.flip(2).clone())


@torch.no_grad()
def test_parity_of_the_plain_network_with_pytorchvideo() -> None:
    """The 8 x 8 form of pytorchvideo's hub, i3d_r50, narrow and on few pixels."""
    theirs = pytorchvideos(
        "pytorchvideo.models.resnet.create_resnet",
        model_depth=50,
        model_num_class=13,
        stem_dim_out=8,
        stem_conv_kernel_size=(5, 7, 7),
        stage1_pool=nn.MaxPool3d,
        stage_conv_a_kernel_size=(
            (3, 1, 1),
            [(3, 1, 1), (1, 1, 1)],
            [(3, 1, 1), (1, 1, 1)],
            [(1, 1, 1), (3, 1, 1)],
        ),
        head_pool_kernel_size=(2, 2, 2),
        head_activation=None,
    )
    randomise(theirs)
    model = model_of(num_frames=4, image_size=(37, 53), blocks=(3, 4, 6, 3), width=8, time_stride=1, **PLAIN)
    load_pytorchvideos(model, theirs)
    clip = torch.rand(2, 4, 3, 37, 53, generator=torch.Generator().manual_seed(41))
    expected = theirs(clip.transpose(1, 2))
    assert_close(model(clip), expected, PARITY)
    twins: list[Callable[[NonLocalNet], None]] = [three_frames_in_the_wrong_blocks, no_pool_over_time, stem_backwards]
    for twin in twins:
        load_pytorchvideos(model, theirs)
        twin(model)
        assert difference(model(clip), expected) > MISTAKE


@torch.no_grad()
def test_it_starts_as_its_plain_twin(clip: Tensor) -> None:
    model, plain = model_of(), model_of(**PLAIN)
    state = model.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()}, strict=True)
    assert len(state) - len(plain.state_dict()) == 3 * (4 * 2 + 5), "three blocks of four convolutions and a norm"
    assert torch.equal(model(clip), plain(clip))
    randomise(model)
    state = model.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()}, strict=True)
    assert difference(model(clip), plain(clip)) > MISTAKE


def test_non_local_blocks_wake_up_after_one_step(clip: Tensor) -> None:
    """At first only the zero norm has a gradient; one step of it, and all inside has one too."""
    model = model_of(dropout=0.0).train()
    labels = torch.tensor([3, 12])
    for step in range(2):
        model.zero_grad()
        F.cross_entropy(model(clip), labels).backward()
        for name, parameter in model.named_parameters():
            gradient = parameter.grad
            assert gradient is not None, name
            assert torch.isfinite(gradient).all(), name
            inside = ".non_local." in name and ".norm." not in name
            if name.endswith(("out.bias", "phi.bias")):
                # The norm takes a constant away again, and a constant key moves all weights of a place alike.
                assert float(gradient.abs().max()) < 1e-6, name
            else:
                assert bool(gradient.any()) != (inside and step == 0), name
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.5 * parameter.grad


SIZES = {
    # pytorchvideo's i3d_r50, and its cost at 256 x 256 as measured there.
    "i3d_r50": ({"num_frames": 8, "time_stride": 1, "image_size": (256, 256), **PLAIN}, 28_043_472, 37.1),
    # Feichtenhofer et al. 2019, Table 2: 282 for non-local ResNet-50.
    "nonlocal_r50": ({"num_frames": 128, "image_size": (256, 256)}, 35_401_936, 282),
    # The same table, and STAM's Table 1.
    "nonlocal_r101": ({**R101, "res4_time_blocks": 6}, 54_394_064, 359),
}


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name: str) -> None:
    changes, parameters, gmacs = SIZES[name]
    config = NonLocalNetConfig(**changes)
    with torch.device("meta"):
        model = NonLocalNet(config)
    cost = measure_cost(model, (config.num_frames, 3, *config.image_size))
    assert cost.num_parameters == parameters
    assert cost.macs / 1e9 == pytest.approx(gmacs, rel=0.002)


def test_54_3_million_are_the_weights_without_norms_and_biases() -> None:
    with torch.device("meta"):
        model = NonLocalNet(NonLocalNetConfig(**R101, res4_time_blocks=6))
    layers = (each for each in model.modules() if isinstance(each, nn.Conv3d | nn.Linear))
    assert sum(each.weight.numel() for each in layers) / 1e6 == pytest.approx(54.3, abs=0.05)


def test_c2d_looks_across_time_nowhere() -> None:
    kernels = {each.kernel_size[0] for each in model_of(inflation="c2d").modules() if isinstance(each, nn.Conv3d)}
    assert kernels == {1}
    inflated = [block.conv1.kernel_size[0] for block in model_of(blocks=(2, 4, 5, 3), res4_time_blocks=3).trunk.layer3]  # type: ignore[union-attr, operator]
    assert inflated == [3, 1, 3, 1, 1]


@pytest.mark.parametrize(("num_frames", "stride", "left"), [(32, 2, 4), (128, 2, 16), (8, 1, 4), (11, 2, 2), (1, 2, 1)])
@torch.no_grad()
def test_frames_that_are_left(num_frames: int, stride: int, left: int) -> None:
    """Table 1 of the paper: 32 frames become 4; its README: 8 frames that are apart do too."""
    model = model_of(num_frames=num_frames, time_stride=stride, image_size=(32, 33))
    assert model.trunk(torch.zeros(1, 3, num_frames, 32, 33)).shape == (1, 192, left, 1, 2)


@torch.no_grad()
def test_logits_are_float32_and_clips_do_not_meet(clip: Tensor) -> None:
    model = model_of()
    randomise(model)
    assert torch.equal(model(clip), model(clip))
    assert_close(model(clip[1:]), model(clip)[1:], PARITY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(clip).dtype == torch.float32


@torch.no_grad()
def test_shape_suffixes_tell_the_truth(clip: Tensor) -> None:
    with true_shapes() as log:
        model_of()(clip)
    file = nonlocal_net.__file__.rpartition("/")[2]
    assert {f"{file}:forward:mixed_B1NE", f"{file}:forward:key_B1ME", f"{file}:forward:mixed_BETHW"} <= log.checked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 0}, "num_frames is 0; expected a whole number"),
        ({"num_frames": 1, "time_stride": 1}, "num_frames is 1; expected at least 2, because this network halves time"),
        ({"image_size": (31, 53)}, "image_size is 31x53; expected at least 32 pixels a side"),
        ({"blocks": (1, 2, 3)}, r"blocks is \(1, 2, 3\); expected four whole numbers"),
        ({"inflation": "3d"}, 'inflation is \'3d\'; expected "i3d" or "c2d"'),
        ({"time_stride": 4}, "time_stride is 4; expected 1 or 2"),
        ({"res4_time_blocks": 0}, "res4_time_blocks is 0; expected a whole number"),
        ({"nonlocal_res3": (2,)}, r"nonlocal_res3 is \(2,\); expected different blocks of that stage, 0 to 1"),
        ({"nonlocal_res4": (1, 1)}, r"nonlocal_res4 is \(1, 1\); expected different blocks"),
        ({"dropout": -0.1}, r"dropout is -0\.1"),
    ],
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_a_clip_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match="clip has 12 frames but the model needs 11"):
        model_of()(torch.zeros(1, 12, 3, 37, 53))
