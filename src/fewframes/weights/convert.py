"""Weights of one layout come in, the same network in another layout goes out, compared before it counts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fewframes.architectures import architecture_of, build_from_config
from fewframes.catalog import CATALOG, ModelOption, adapted_card
from fewframes.classes import official_labels
from fewframes.errors import InvalidCheckpoint, UnknownName, UsageError
from fewframes.weights.checkpoint import INFO_NAME, CheckpointInfo, load_checkpoint, save_checkpoint
from fewframes.weights.files import find_file, read_tensors
from fewframes.weights.layout import Described, Layout
from fewframes.weights.layouts import LAYOUTS, layout_names, layout_of
from fewframes.weights.loading import OWN, LoadReport, load_weights

__all__ = ["Conversion", "convert", "describe_weights", "import_weights"]

_PICKLES = (".pth", ".pt", ".pyth", ".bin")


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        source: the file or folder that was read.
        source_layout: the layout that was recognised.
        destination: the file or folder that was written.
        destination_layout: its layout.
        architecture: of the network, such as "timesformer".
        name: the nearest name of the catalogue.
        num_classes: K.
        num_parameters: of the network.
        num_tensors: written.
        notes: what was assumed, corrected or left out, a sentence each.
    """

    source: str
    source_layout: str
    destination: str
    destination_layout: str
    architecture: str
    name: str
    num_classes: int
    num_parameters: int
    num_tensors: int
    notes: tuple[str, ...]


def describe_weights(source: str | Path) -> tuple[str, Described]:
    """The layout of a foreign file or folder, and the network that it says it was made with.

    Raises:
        InvalidCheckpoint: missing, damaged, of no known layout, or with tensors that contradict each other.
    """
    path = find_file(Path(source))
    tensors = read_tensors(path)
    layout = layout_of(tensors)
    if layout is None:
        raise InvalidCheckpoint(
            f"{path}: unknown layout (tensors such as {', '.join(sorted(tensors)[:3]) or 'none'}); "
            f"known: {'; '.join(layout_names())}"
        )
    try:
        return layout.NAME, layout.describe(tensors, _json_beside(path))
    except (LookupError, UsageError, IndexError, ValueError, ArithmeticError) as error:
        if isinstance(error, InvalidCheckpoint):
            raise
        raise InvalidCheckpoint(f"{path} looks like {layout.NAME} but cannot be one ({error})") from error


def import_weights(
    source: str | Path, *, model: str = "", options: dict[str, ModelOption] | None = None, labels: Sequence[str] = ()
) -> tuple[nn.Module, CheckpointInfo, LoadReport]:
    """Build the network that a foreign file or folder holds, with its own sampling and preprocessing.

    Args:
        source: a file, or a folder as Hugging Face lays them out.
        model: a catalogue name that says what cannot be read from the file; "" lets the file speak for itself.
        options: with `model`, changes to its shape.
        labels: the class names in label-index order; by default those that the file or the catalogue states.

    Returns:
        The network in eval mode, its record, and what became of each tensor.

    Raises:
        InvalidCheckpoint: the file is damaged, of no known layout, or does not hold a whole network.
    """
    if model:
        card = adapted_card(model, **(options or {}))
        described = Described(card.config, card.sampling, card.preprocess, name=card.name)
    else:
        described = describe_weights(source)[1]
    network = build_from_config(described.config)
    report = load_weights(network, source)
    if report.newly_initialised:
        raise InvalidCheckpoint(
            f"{source} holds no whole network: {len(report.newly_initialised)} tensors are missing "
            f"({report.newly_initialised[0]}, ...); use it to start a training (--model.init-from)"
        )
    names = tuple(labels) or described.labels or _labels_of(described)
    info = CheckpointInfo(
        name=described.name or architecture_of(described.config),
        config=described.config,
        sampling=described.sampling,
        preprocess=described.preprocess,
        labels=names,
        provenance={"weights": str(source), "report": report.summary(), "notes": list(described.notes)},
    )
    return network.eval(), info, report


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    to: str = OWN,
    model: str = "",
    options: dict[str, ModelOption] | None = None,
    labels: Sequence[str] = (),
) -> Conversion:
    """Write the network of one file in another layout, then read it back and compare every tensor.

    Args:
        source: a file or folder of any known layout, or one of our checkpoint folders.
        destination: for our own layout, a checkpoint folder; for another, a .safetensors or PyTorch file, or a folder.
        to: "fewframes" or a name of `LAYOUTS`.
        model: see `import_weights`.
        options: see `import_weights`.
        labels: see `import_weights`.

    Raises:
        UnknownName: no such layout.
        UsageError: the layout cannot be written or has no place for this network, or the destination is taken.
        InvalidCheckpoint: the source is damaged or not whole.
    """
    if to != OWN and to not in LAYOUTS:
        raise UnknownName("layout", to, [OWN, *LAYOUTS])
    source, destination = Path(source), Path(destination)
    if (source / INFO_NAME).is_file():
        if model or options or labels:
            raise UsageError(f"{source} is a checkpoint, which states its own model and labels; leave options out")
        network, info = load_checkpoint(source)
        notes: tuple[str, ...] = ()
        source_layout = OWN
    else:
        network, info, report = import_weights(source, model=model, options=options, labels=labels)
        notes = (*info.provenance["notes"], *report.notes, *(f"not used: {each}" for each in report.unused))
        source_layout = report.layout
    if to == OWN:
        save_checkpoint(destination, network, info)
        num_tensors = len(network.state_dict())
    else:
        num_tensors, absent = _export(network, info, destination, to)
        if absent:
            notes += (f"{to} has no place for {len(absent)} tensors, which are not in the file: {absent[0]}, ...",)
    return Conversion(
        source=str(source),
        source_layout=source_layout,
        destination=str(destination),
        destination_layout=OWN if to == OWN else LAYOUTS[to].NAME,
        architecture=architecture_of(info.config),
        name=info.name,
        num_classes=info.config.num_classes,
        num_parameters=sum(each.numel() for each in network.parameters()),
        num_tensors=num_tensors,
        notes=notes,
    )


def _export(network: nn.Module, info: CheckpointInfo, destination: Path, to: str) -> tuple[int, tuple[str, ...]]:
    layout = LAYOUTS[to]
    if not hasattr(layout, "export") or not layout.fits(network):
        able = [name for name, each in LAYOUTS.items() if hasattr(each, "export") and each.fits(network)]
        raise UsageError(
            f"a {architecture_of(info.config)} network cannot be written in the layout {to}; "
            f"expected {' or '.join([OWN, *able])}"
        )
    if destination.exists():
        raise UsageError(f"{destination} exists and is not replaced; choose another place")
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    tensors: dict[str, Tensor] = layout.export(state, info.config)
    is_file = destination.suffix in (".safetensors", *_PICKLES)
    partial = destination.with_name(f".{destination.name}.part" + (destination.suffix if is_file else ""))
    try:
        if is_file:
            partial.parent.mkdir(parents=True, exist_ok=True)
        else:
            partial.mkdir(parents=True)
            for name, content in _beside(layout, info).items():
                (partial / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        file = partial if is_file else partial / "model.safetensors"
        if file.suffix in _PICKLES:
            wrapper = getattr(layout, "WRAPPER", "")
            torch.save({wrapper: tensors} if wrapper else tensors, file)
        else:
            save_file({name: value.contiguous() for name, value in tensors.items()}, file, metadata={"format": "pt"})
        absent = _compare(network, info, file, to)
        partial.replace(destination)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)
    return len(tensors), absent


def _compare(network: nn.Module, info: CheckpointInfo, file: Path, to: str) -> tuple[str, ...]:
    """Raise unless what was written comes back as it was; our names of what the layout has no place for."""
    again = build_from_config(info.config)
    report = load_weights(again, file)
    if report.layout != LAYOUTS[to].NAME:
        raise UsageError(
            f"the layout {to} has no place for this network: what it wrote reads as {report.layout}; nothing was kept"
        )
    state, absent = again.state_dict(), set(report.newly_initialised)
    written = {name: value for name, value in network.state_dict().items() if name not in absent}
    changed = [name for name, value in written.items() if not torch.equal(value.cpu(), state[name])]
    if changed or report.resized:
        raise UsageError(
            f"the layout {to} does not keep this network: {', '.join((changed or list(report.resized))[:3])} came back "
            "changed; nothing was kept"
        )
    return report.newly_initialised


def _beside(layout: Layout, info: CheckpointInfo) -> dict[str, Any]:
    if not hasattr(layout, "export_beside"):
        return {}
    content: dict[str, Any] = layout.export_beside(info.config, info.labels, info.preprocess)
    return content


def _json_beside(path: Path) -> dict[str, Any]:
    """The JSON files next to a weights file that say something of it."""
    result = {}
    for name in ("config.json", "preprocessor_config.json"):
        file = path.parent / name
        if file.is_file():
            try:
                result[name] = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InvalidCheckpoint(f"{file} is no JSON ({error}); copy the folder again") from error
    return result


def _labels_of(described: Described) -> tuple[str, ...]:
    """The class names of the nearest catalogue model if their number fits, otherwise numbered stand-ins."""
    card = CATALOG.get(described.name)
    labels = official_labels(card.labels) if card is not None and card.labels else ()
    count = described.config.num_classes
    return labels if len(labels) == count else tuple(f"class {index}" for index in range(count))
