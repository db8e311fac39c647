"""The moving average of weights against numbers worked out by hand; taken up again and swapped in bit for bit."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fewframes.errors import UsageError
from fewframes.training.ema import WeightAverage
from tests.helpers.tiny import same_bits


class Scale(nn.Module):
    """One weight, a buffer of numbers, one of integers, and one that is not saved."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))
        self.register_buffer("mean", torch.tensor([value]))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("table", torch.tensor([7.0]), persistent=False)

    def set(self, value: float) -> None:
        state = {"weight": torch.tensor([value]), "mean": torch.tensor([10 * value])}
        self.load_state_dict({**state, "count": torch.tensor(int(value))})


def values(average: WeightAverage) -> tuple[float, float, int]:
    held = average.state_dict()["average"]
    return float(held["weight"]), float(held["mean"]), int(held["count"])


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    inputs = torch.randn(7, 3, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model.train()(inputs).square().sum().backward()
    optimizer.step()


def test_by_hand() -> None:
    model = Scale(8.0)
    average = WeightAverage(model, 0.75)
    assert values(average) == (8.0, 8.0, 0), "it starts from the weights"
    model.set(4.0)
    average.update(model)
    # 0.75 * 8 + 0.25 * 4 and 0.75 * 8 + 0.25 * 40; integers are copied.
    assert values(average) == (7.0, 16.0, 4)
    model.set(3.0)
    average.update(model)
    assert values(average) == (6.0, 19.5, 3)
    assert average.num_updates == 2


def test_copied_buffers_by_hand() -> None:
    model = Scale(8.0)
    average = WeightAverage(model, 0.75, buffers="copy")
    model.set(4.0)
    average.update(model)
    assert values(average) == (7.0, 40.0, 4)


def test_warm_up_by_hand() -> None:
    model = Scale(0.0)
    average = WeightAverage(model, 0.25, warm_up=True)
    assert [average.decay_at(n) for n in (1, 2, 3, 100)] == [2 / 11, 3 / 12, 0.25, 0.25]
    model.set(11.0)
    average.update(model)
    assert values(average)[0] == pytest.approx(9.0), "2/11 of 0 and 9/11 of 11"
    model.set(1.0)
    average.update(model)
    assert values(average)[0] == pytest.approx(3.0), "3/12 of 9 and 9/12 of 1"
    long = WeightAverage(model, 0.9997, warm_up=True)
    assert long.decay_at(29_989) == pytest.approx(29_990 / 29_999)
    assert long.decay_at(10**6) == 0.9997
    assert WeightAverage(model, 0.9997).decay_at(1) == 0.9997


def test_equals_torch() -> None:
    model = network()
    ours = WeightAverage(model, 0.9, buffers="copy")
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    theirs.update_parameters(model)  # torch's first call only copies
    for seed in range(5):
        step(model, optimizer, seed)
        ours.update(model)
        theirs.update_parameters(model)
    expected = {name.removeprefix("module."): each for name, each in theirs.state_dict().items() if "module." in name}
    held = ours.state_dict()["average"]
    assert held.keys() == expected.keys()
    for name in held:
        torch.testing.assert_close(held[name], expected[name])
    assert torch.equal(held["1.running_mean"], model.state_dict()["1.running_mean"])


@pytest.mark.parametrize("warm_up", [False, True])
@pytest.mark.parametrize("stop", [1, 4])
def test_taken_up_again_bit_for_bit(warm_up: bool, stop: int) -> None:
    def run(begin: int, end: int, state: bytes | None) -> tuple[dict[str, object], bytes]:
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        average = WeightAverage(model, 0.97, warm_up=warm_up)
        if state is not None:
            saved = torch.load(io.BytesIO(state), weights_only=True)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            average.load_state_dict(saved["average"])
        for seed in range(begin, end):
            step(model, optimizer, seed)
            average.update(model)
        file = io.BytesIO()
        content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.state_dict()}
        torch.save(content, file)
        return average.state_dict(), file.getvalue()

    whole, _ = run(0, 7, None)
    resumed, _ = run(stop, 7, run(0, stop, None)[1])
    assert same_bits(resumed, whole)
    forgotten, _ = run(stop, 7, None)
    assert not same_bits(forgotten, whole), "the comparison can fail"


def test_in_place_of_the_network_and_back() -> None:
    model = network()
    average, optimizer = WeightAverage(model, 0.5), torch.optim.SGD(model.parameters(), lr=0.01)
    step(model, optimizer, 0)
    average.update(model)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    places = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    held = {name: tensor.clone() for name, tensor in average.state_dict()["average"].items()}
    with average.in_place_of(model):
        assert same_bits(dict(model.state_dict()), held)
        assert not same_bits(dict(model.state_dict()), own)
        model.train()(torch.randn(7, 3, generator=torch.Generator().manual_seed(9)))  # moves the running means
    assert same_bits(dict(model.state_dict()), own)
    assert places == {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    assert same_bits(average.state_dict()["average"], held)


def test_back_after_an_error_too() -> None:
    model = Scale(8.0)
    average = WeightAverage(model, 0.5)
    model.set(4.0)
    with pytest.raises(RuntimeError, match="in the middle"), average.in_place_of(model):
        assert model.weight.item() == 8.0
        raise RuntimeError("in the middle")
    assert model.weight.item() == 4.0
    average.update(model)
    assert values(average)[0] == 6.0, "and it goes on"


def test_looking_at_the_average_changes_no_step() -> None:
    ends = []
    for looks in (False, True):
        model = network()
        average, optimizer = WeightAverage(model, 0.9), torch.optim.AdamW(model.parameters(), lr=0.01)
        for seed in range(4):
            step(model, optimizer, seed)
            average.update(model)
            if looks:
                with average.in_place_of(model), torch.no_grad():
                    model.eval()(torch.ones(2, 3))
        ends.append({**model.state_dict(), **average.state_dict()["average"]})
    assert same_bits(ends[0], ends[1])


def test_tied_weights_stay_tied() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model["a"].weight.fill_(3.0)
    average.update(model)
    with average.in_place_of(model):
        assert torch.equal(model["a"].weight, model["b"].weight)
    assert bool((model["b"].weight == 3).all())


def test_not_updated_while_in_place() -> None:
    model = Scale(1.0)
    average = WeightAverage(model, 0.5)
    with average.in_place_of(model):
        with pytest.raises(AssertionError, match="while it is in the network's place"):
            average.update(model)
        with pytest.raises(AssertionError, match="already"), average.in_place_of(model):
            pass
    assert model.weight.item() == 1.0


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_impossible_decay(decay: float) -> None:
    with pytest.raises(UsageError, match=r"decay is .*; expected 0 to below 1"):
        WeightAverage(Scale(), decay)


def test_another_network_is_refused() -> None:
    average = WeightAverage(network(), 0.5)
    with pytest.raises(UsageError, match=r"the network differs from the averaged one in 12 tensors \(0\.bias, 0\.we"):
        average.update(Scale())
    wider = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 4))
    with pytest.raises(UsageError, match=r"in 2 tensors \(2\.bias, 2\.weight\)"), average.in_place_of(wider):
        pass
    with pytest.raises(UsageError, match=r"the state of the averaged weights differs .* in 2 tensors"):
        average.load_state_dict(WeightAverage(wider, 0.5).state_dict())
    with pytest.raises(UsageError, match=r"has \['average'\]; expected average, num_updates"):
        average.load_state_dict({"average": {}})
    assert average.num_updates == 0
