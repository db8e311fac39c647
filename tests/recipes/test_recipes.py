"""Recipes: complete, explained, with the numbers of their sources, and never another training than they say."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
import torch

from fewframes.architectures import build_from_config
from fewframes.cards.card import ModelCard
from fewframes.catalog import adapted_card, parse_options
from fewframes.recipes import RECIPES
from fewframes.training.config import TrainConfig
from fewframes.training.optim import peak_learning_rate
from tests.helpers.command import Command
from tests.helpers.tiny import SHAPE

OWN = ("small", "finetune", "demo-stam", "demo-mean")
PUBLISHED = (
    "stam-paper",
    "stam-v1",
    "stam-v2",
    "stam-ucf101",
    "vivit-k400",
    "vivit-k600",
    "vivit-ssv2",
    "timesformer-k400",
    "timesformer-ssv2",
)
# With 7 classes: of the published networks the catalogue's count without that of the other classes in the head.
SIZES = {
    "small": 1_700_000,
    "finetune": 118_903_303,
    "demo-stam": 490_000,
    "demo-mean": 370_000,
    "stam-paper": 118_903_303,
    "stam-v1": 118_903_303,
    "stam-v2": 118_903_303,
    "stam-ucf101": 118_915_591,
    "vivit-k400": 606_425_095,
    "vivit-k600": 606_425_095,
    "vivit-ssv2": 354_562_055,
    "timesformer-k400": 121_264_135,
    "timesformer-ssv2": 121_264_135,
}
ROUGH = ("small", "demo-stam", "demo-mean")
# Optimiser, peak learning rate, clips, epochs, warm-up, weight decay, label smoothing, decay of the average.
LEARNING = {
    "stam-paper": ("adamw", 1e-5, 64, 30, 3, 1e-3, 0.1, 0.9997),
    "stam-v1": ("sgd", 1e-3, 64, 100, 10, 1e-4, 0.1, 0),
    "stam-v2": ("adamw", 1e-5, 64, 100, 10, 1e-3, 0, 0.9997),
    "stam-ucf101": ("adamw", 1e-5, 64, 30, 3, 1e-3, 0.1, 0.998),
    "vivit-k400": ("sgd", 0.1, 64, 30, 2.5, 0, 0, 0),
    "vivit-k600": ("sgd", 0.05, 64, 30, 2.5, 0, 0, 0),
    "vivit-ssv2": ("sgd", 0.4, 64, 35, 2.5, 0, 0.3, 0),
    "timesformer-k400": ("sgd", 0.005, 8, 15, 0, 1e-4, 0, 0),
    "timesformer-ssv2": ("sgd", 0.005, 8, 15, 0, 1e-4, 0, 0),
}
# The rule, its frames and their distance; crop, mean and channels.
INPUT = {
    "stam-paper": ("uniform", 16, None, 224, 0.0, "rgb"),
    "stam-v1": ("uniform", 16, None, 224, 0.0, "rgb"),
    "stam-v2": ("uniform", 16, None, 224, 0.0, "rgb"),
    "stam-ucf101": ("uniform", 32, None, 224, 0.0, "rgb"),
    "vivit-k400": ("clip", 32, 2, 224, 0.5, "rgb"),
    "vivit-k600": ("clip", 32, 2, 224, 0.5, "rgb"),
    "vivit-ssv2": ("clip", 32, 1, 256, 0.5, "rgb"),
    "timesformer-k400": ("clip_linspace", 8, 32, 224, 0.45, "rgb"),
    "timesformer-ssv2": ("segment_middle", 8, None, 224, 0.45, "bgr"),
}


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of files that are there and that nobody opens."""
    rows = ["path,label,split"]
    for number in range(20):
        name = f"{number}.mp4"
        (tmp_path / name).touch()
        rows.append(f"{name},class {number % 4},{'train' if number < 16 else 'val'}")
    source = tmp_path / "list.csv"
    source.write_text("\n".join([*rows, ""]))
    return source


def card_of(name: str) -> ModelCard:
    config = RECIPES[name]()
    return adapted_card(config.model.name, **parse_options(config.model.name, config.model.options))


def differing(left: object, right: object, prefix: str = "") -> set[str]:
    """Dotted names of the settings in which two configs differ."""
    names = set()
    for field in dataclasses.fields(left):  # type: ignore[arg-type]
        here, there = getattr(left, field.name), getattr(right, field.name)
        if here != there and dataclasses.is_dataclass(here):
            names |= differing(here, there, f"{prefix}{field.name}.")
        elif here != there:
            names.add(f"{prefix}{field.name}")
    return names


def test_the_names_that_the_command_line_offers() -> None:
    assert tuple(RECIPES) == (*OWN, *PUBLISHED)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is(name: str) -> None:
    text = inspect.getdoc(RECIPES[name])
    assert text is not None
    assert text.splitlines()[0].endswith(".") or text.splitlines()[0].endswith(",")
    assert f"Command: fewframes train {name} " in text
    assert "\nSource: " in text
    assert "\nHardware: " in text


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_says_what_is_known_and_what_was_chosen(name: str) -> None:
    text = inspect.getdoc(RECIPES[name]) or ""
    for part in ("Needs", "Expected", "Choices"):
        assert re.search(rf"^{part}[^:\n]*: ", text, re.MULTILINE), part
    assert "\nContradictions: " in text or name == "stam-ucf101", "whose source says nothing that could contradict"
    assert "Not tried here" in text


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_complete_run(name: str) -> None:
    config = RECIPES[name]()
    assert isinstance(config, TrainConfig)
    assert config == RECIPES[name](), "the same each time"
    assert config.data.source == "", "whose videos are for the caller to name"
    card = adapted_card(config.model.name, **parse_options(config.model.name, config.model.options), num_classes=7)
    with torch.device("meta"):
        network = build_from_config(card.config)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == pytest.approx(SIZES[name], rel=0.15 if name in ROUGH else 0.0)


def test_every_recipe_has_a_folder_of_its_own() -> None:
    folders = [make().output for make in RECIPES.values()]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("name", LEARNING)
def test_the_numbers_of_the_source(name: str) -> None:
    config = RECIPES[name]()
    optim = config.optim
    found = (
        optim.optimizer,
        peak_learning_rate(optim),
        optim.batch_size,
        optim.epochs,
        optim.warmup_epochs,
        optim.weight_decay,
        optim.label_smoothing,
        config.average.decay,
    )
    assert found == LEARNING[name]


@pytest.mark.parametrize("name", INPUT)
def test_the_input_of_the_source(name: str) -> None:
    card = card_of(name)
    sampling, spec = card.sampling, card.preprocess
    found = (sampling.rule, sampling.num_frames, sampling.stride, spec.crop[0], spec.mean[0], spec.channel_order)
    assert found == INPUT[name]


def test_stam_as_the_paper_augments() -> None:
    for name in ("stam-paper", "stam-v1", "stam-v2", "stam-ucf101"):
        augment = RECIPES[name]().augment
        assert (augment.short_side, augment.flip_probability) == ((256, 320), 0.5)
        assert (augment.cutout, augment.policy, augment.random_frames) == (0.5, "autoaugment", False)
        assert not RECIPES[name]().mix.is_on


def test_the_versions_of_stam_differ_in_what_their_docstrings_name() -> None:
    paper = RECIPES["stam-paper"]()
    assert paper.optim.temporal_lr_factor == 10
    rates = {"optim.temporal_lr_factor", "optim.epochs", "optim.warmup_epochs", "output"}
    first = {"optim.optimizer", "optim.lr", "optim.weight_decay", "average.decay"}
    assert differing(paper, RECIPES["stam-v1"]()) == rates | first
    assert differing(paper, RECIPES["stam-v2"]()) == rates | {"optim.label_smoothing", "distill.teacher"}
    teacher = RECIPES["stam-v2"]().distill
    assert (teacher.alpha, teacher.temperature) == (5, 1)
    assert teacher.teacher == f"{RECIPES['stam-v1']().output}/last", "what the recipe for the teacher leaves"


def test_the_rate_of_stam_follows_the_batch_as_its_authors_had_it() -> None:
    optim = RECIPES["stam-v2"]().optim
    # A comment quotes 16 clips and 2.5e-6 for STAM-64.
    assert peak_learning_rate(dataclasses.replace(optim, batch_size=16)) == pytest.approx(2.5e-6, rel=1e-12)
    released = RECIPES["timesformer-k400"]().optim
    assert peak_learning_rate(dataclasses.replace(released, batch_size=16)) == 0.005, "paper and release share the rate"


def test_ucf101_trains_on_the_whole_split() -> None:
    config = RECIPES["stam-ucf101"]()
    assert (config.data.val_fraction, config.data.val_split) == (0, "")
    assert (config.model.init_from, config.optim.head_lr_factor, config.optim.temporal_lr_factor) == ("stam_32", 10, 1)


def test_vivit_as_released() -> None:
    for name in ("vivit-k400", "vivit-k600", "vivit-ssv2"):
        config = RECIPES[name]()
        optim, augment = config.optim, config.augment
        assert (optim.momentum, optim.nesterov, optim.clip_norm, optim.final_lr_factor) == (0.9, False, 1, 0)
        assert (augment.max_zoom, augment.scale_jitter, augment.flip_probability) == (1, (0.9, 1.33), 0.5)
        assert "zero_head=true" in config.model.options
    kinetics, other = RECIPES["vivit-k400"](), RECIPES["vivit-ssv2"]()
    assert (kinetics.augment.colour_jitter, kinetics.augment.colour_drop) == (0.8, 0.1)
    assert differing(kinetics, RECIPES["vivit-k600"]()) == {"model.name", "optim.lr", "output"}
    assert (other.augment.colour_jitter, other.augment.colour_drop, other.augment.flip_pairs) == (0, 0, True)
    assert (other.augment.policy, other.augment.randaugment_layers) == ("randaugment", 2)
    assert (other.mix.mixup_alpha, card_of("vivit-ssv2").config.drop_path) == (0.3, 0.3)
    assert card_of("vivit-ssv2").preprocess.resize_short == 288
    depths = [card_of(name).config.temporal_depth for name in ("vivit-k400", "vivit-k600", "vivit-ssv2")]
    assert depths == [24, 24, 4]


def test_timesformer_as_released() -> None:
    for name in ("timesformer-k400", "timesformer-ssv2"):
        config = RECIPES[name]()
        optim = config.optim
        assert (optim.momentum, optim.nesterov, optim.clip_norm) == (0.9, True, 0)
        assert (optim.schedule, optim.step_epochs) == ("step", (11, 14))
        assert (config.augment.short_side, card_of(name).config.drop_path) == ((256, 320), 0.1)
    kinetics, other = RECIPES["timesformer-k400"]().augment, RECIPES["timesformer-ssv2"]().augment
    assert (kinetics.flip_probability, kinetics.inverse_zoom) == (0.5, False)
    assert (other.flip_probability, other.flip_pairs, other.inverse_zoom) == (0, False, True)


def test_the_same_timesformer_in_rgb() -> None:
    options = parse_options("timesformer_base_ssv2", RECIPES["timesformer-ssv2"]().model.options)
    bgr, rgb = (adapted_card(f"timesformer_base_{data}", **options, num_classes=174) for data in ("ssv2", "diving48"))
    assert bgr.config == rgb.config
    assert bgr.sampling == rgb.sampling
    assert differing(bgr.preprocess, rgb.preprocess) == {"channel_order"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_dry_run_on_eight_processes(
    command: Command, listed: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    plan = command("train", name, listed, "--dry-run", "--json").document()
    _, lr, batch, epochs, warmup, *_ = LEARNING[name]
    assert (plan["data"]["num_train"], plan["data"]["num_val"]) == (16, 4)
    assert plan["batch"]["clips_per_process"] * 8 == plan["batch"]["clips"] == batch
    steps = 2 if batch == 8 else 1
    schedule = plan["schedule"]
    assert (schedule["total_steps"], schedule["peak_lr"]) == (steps * epochs, lr)
    assert schedule["warmup_steps"] == round(warmup * steps)
    assert plan["model"]["starts_from"] == RECIPES[name]().model.init_from != "random weights"
    # The docstring's figure, rounded up to whole gigabytes, is for all clips on one device where the batch is 8.
    stated = re.search(r"estimates (\d+) GB", (inspect.getdoc(RECIPES[name]) or "").replace("\n", " "))
    if stated is not None:
        activations = plan["memory"]["activations"] * (8 if batch == 8 else 1)
        total = plan["memory"]["total"] - plan["memory"]["activations"] + activations
        assert int(stated[1]) == pytest.approx(total / 1e9, abs=0.6)


def test_without_its_weights_a_recipe_never_starts(command: Command, listed: Path, tmp_path: Path) -> None:
    options = ("--output", tmp_path / "run", "--device", "cpu", "--precision", "float32", "--model.options", *SHAPE)
    command("train", "stam-paper", listed, *options).assert_refused(
        1, "no weights at vit_base_patch16_224_miil_21k.pth"
    )
    command("train", "stam-v2", listed, *options, "--model.init-from", "").assert_refused(2, "runs/stam-v1/last")
    assert not (tmp_path / "run").exists()


def test_the_demo_compares_one_thing() -> None:
    stam, mean = RECIPES["demo-stam"](), RECIPES["demo-mean"]()
    same = dataclasses.replace(mean, model=stam.model, output=stam.output)
    assert same == stam, "data, augmentation, optimiser and seed are equal"
    cards = [card_of("demo-stam"), card_of("demo-mean")]
    assert differing(cards[0].config, cards[1].config) <= {"aggregator", "temporal_depth", "temporal_heads"}
    assert [card.config.aggregator for card in cards] == ["paper", "mean"]
    assert cards[0].sampling == cards[1].sampling
    assert cards[0].preprocess == cards[1].preprocess


def test_fine_tuning_as_the_release_did() -> None:
    config = RECIPES["finetune"]()
    assert (config.optim.lr, config.optim.batch_size, config.optim.weight_decay) == (1e-5, 64, 1e-3)
    assert (config.model.name, config.model.init_from) == ("stam_16", "stam_16")
    assert config.optim.warmup_epochs == config.optim.epochs / 10
