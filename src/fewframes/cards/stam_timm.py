"""STAM over other frame encoders: literal facts go out, the paper's backbones and starting points of today.

Each transform is that of the encoder's weights named in the config, as timm states it.
"""

from __future__ import annotations

from fewframes.cards.card import ModelCard, Published
from fewframes.models.stam_timm import StamTimmConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_PAPER = "Sharir, Noy, Zelnik-Manor 2021, arXiv:2103.13915"
_IMAGENET = Preprocess((224, 224), 256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_MIIL = Preprocess((224, 224), 256)
_DINOV3 = Preprocess((224, 224), 224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bicubic")
_SIGLIP2 = Preprocess((224, 224), 248, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic")
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CLIP = Preprocess((224, 224), 248, mean=_CLIP_MEAN, std=_CLIP_STD, interpolation="bicubic")
_CLIP_WHOLE = Preprocess((224, 224), 224, mean=_CLIP_MEAN, std=_CLIP_STD, interpolation="bicubic")


def _backbone(
    name: str,
    config: StamTimmConfig,
    preprocess: Preprocess,
    cost: tuple[int, float, float],
    *,
    results: tuple[float, str] | None = None,
    notes: str,
) -> ModelCard:
    """One of the paper's own encoders; `results` is top-1 on Kinetics-400 and the table."""
    return ModelCard(
        name=name,
        family="stam",
        config=config,
        sampling=Sampling("uniform", config.num_frames),
        preprocess=preprocess,
        labels="kinetics400",
        source=f"{_PAPER}, section 4.1; encoder: timm, {config.encoder}",
        code_licence="Apache-2.0",
        published=(Published("Kinetics-400", "top-1", results[0], "1x1", f"paper, {results[1]}"),) if results else (),
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[2],
        notes=f"{notes}; its video weights were never published",
    )


def _start(name: str, encoder: str, preprocess: Preprocess, cost: tuple[int, float, float], licence: str) -> ModelCard:
    """A strong image encoder of today, which nobody has published as a STAM."""
    return ModelCard(
        name=f"stam_16_{name}",
        family="stam",
        config=StamTimmConfig(num_frames=16, encoder=encoder),
        sampling=Sampling("uniform", 16),
        preprocess=preprocess,
        labels="kinetics400",
        source=f"{_PAPER}, with another encoder: timm, {encoder}",
        code_licence="Apache-2.0",
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[2],
        notes=f"not published; a starting point, from timm's weights {encoder} (licence, says timm: {licence})",
    )


CARDS: tuple[ModelCard, ...] = (
    _backbone(
        "stam_16_tresnet_m",
        StamTimmConfig(num_frames=16, encoder="tresnet_m.miil_in21k"),
        _MIIL,
        (181_318_416, 94.3268, 94.3197),
        results=(75.7, "Tables 2 and 3"),
        notes="the paper counts 93 GFLOPs",
    ),
    _backbone(
        "tresnet_m_mean_16",
        StamTimmConfig(num_frames=16, encoder="tresnet_m.miil_in21k", aggregator="mean"),
        _MIIL,
        (30_159_632, 91.7528, 91.7528),
        results=(71.9, "Table 2"),
        notes="the paper counts 88 GFLOPs",
    ),
    _backbone(
        "stam_8_tresnet_l",
        StamTimmConfig(num_frames=8, encoder="tresnet_v2_l.miil_in21k"),
        _MIIL,
        (196_087_824, 71.8552, 71.8532),
        results=(75.9, "Table 3"),
        notes="the paper says TResNet-L, ImageNet-21k weights and 77 GFLOPs, which fits version 2 and not version 1",
    ),
    _backbone(
        "stam_8_tresnet_l_v1",
        StamTimmConfig(num_frames=8, encoder="tresnet_l.miil_in1k"),
        _MIIL,
        (256_422_064, 88.8199, 88.8175),
        notes="TResNet-L as first published, 2432 wide; no published video figure",
    ),
    _backbone(
        "stam_16_resnet50",
        StamTimmConfig(num_frames=16, encoder="resnet50.tv_in1k"),
        _IMAGENET,
        (175_486_416, 67.969, 67.9619),
        results=(72.5, "Table 3"),
        notes="the paper counts 70 GFLOPs and says ImageNet-1k weights, not whose; torchvision's are assumed",
    ),
    _start(
        "dinov3_small",
        "vit_small_patch16_dinov3.lvd1689m",
        _DINOV3,
        (34_757_776, 75.3918, 69.4331),
        "dinov3-license",
    ),
    _start(
        "dinov3_base",
        "vit_base_patch16_dinov3.lvd1689m",
        _DINOV3,
        (119_048_080, 287.4788, 275.5614),
        "dinov3-license",
    ),
    _start(
        "dinov3_large",
        "vit_large_patch16_dinov3.lvd1689m",
        _DINOV3,
        (353_909_136, 1006.298, 974.5218),
        "dinov3-license",
    ),
    _start(
        "siglip2_base",
        "vit_base_patch16_siglip_224.v2_webli",
        _SIGLIP2,
        (126_291_088, 283.8972, 272.5603),
        "apache-2.0",
    ),
    _start(
        "siglip2_so400m",
        "vit_so400m_patch14_siglip_224.v2_webli",
        _SIGLIP2,
        (488_401_488, 1763.8584, 1698.6151),
        "apache-2.0",
    ),
    _start("clip_base", "vit_base_patch16_clip_224.openai", _CLIP, (119_206_288, 281.5734, 270.1255), "apache-2.0"),
    _start(
        "clip_large",
        "vit_large_patch14_clip_224.openai",
        _CLIP_WHOLE,
        (354_009_488, 1297.0513, 1245.1047),
        "apache-2.0",
    ),
    _start("eva02_small", "eva02_small_patch14_224.mim_in22k", _CLIP, (34_791_952, 98.1991, 88.4584), "mit"),
    _start(
        "eva02_clip_base",
        "eva02_base_patch16_clip_224.merged2b",
        _CLIP,
        (119_276_176, 281.5734, 270.1255),
        "mit",
    ),
    _start(
        "eva02_clip_large",
        "eva02_large_patch14_clip_224.merged2b",
        _CLIP,
        (354_147_664, 1296.8492, 1244.9026),
        "mit",
    ),
)
