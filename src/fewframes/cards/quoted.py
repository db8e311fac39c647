"""Systems that the STAM paper and its README compare with and that nobody can build from what was published."""

from __future__ import annotations

from fewframes.cards.card import Published, QuotedCard

__all__ = ["CARDS"]

_TABLE_1, _TABLE_6, _TABLE_7 = (f"STAM paper, Table {table}" for table in (1, 6, 7))


CARDS: tuple[QuotedCard, ...] = (
    QuotedCard(
        name="oct_i3d_nl",
        source="Chen et al. 2019, Drop an Octave",
        published=(Published("Kinetics-400", "top-1", 75.7, "10x3", _TABLE_1),),
        reason="octave convolutions inside an inflated ResNet with non-local blocks, whose shares of channels and "
        "frames are not in the quoted tables; no maintained implementation exists",
        num_parameters=33_600_000,
        gmacs=28.9,
        views=(10, 3),
    ),
    QuotedCard(
        name="x3d_xxl",
        source="Feichtenhofer 2020, X3D",
        published=(Published("Kinetics-400", "top-1", 80.4, "10x3", "STAM README"),),
        reason="its width and depth were never published, and several pairs of them give 20.3 M parameters; "
        "x3d_xl is the largest that can be built",
        num_parameters=20_300_000,
        gmacs=194.1,
        views=(10, 3),
    ),
    QuotedCard(
        name="i3d_inception",
        source="Carreira, Zisserman 2017, Quo vadis, action recognition",
        published=(Published("UCF101", "top-1", 95.6, "", _TABLE_6),),
        reason="I3D on Inception-v1, frames alone without optical flow; no maintained implementation exists, and the "
        "I3D networks here are inflated ResNets",
    ),
    QuotedCard(
        name="faster32",
        source="Zhu et al. 2020, Faster recurrent networks for efficient video classification",
        published=(Published("UCF101", "top-1", 96.9, "", _TABLE_6),),
        reason="a recurrent network over clips that a costly and a cheap network look at in turn; no maintained "
        "implementation exists",
    ),
    QuotedCard(
        name="timeception",
        source="Hussein, Gavves, Smeulders 2019, Timeception for complex action recognition",
        published=(Published("Charades", "mAP", 41.1, "", _TABLE_7),),
        reason="temporal layers over the features of another video network; no maintained implementation exists",
    ),
    QuotedCard(
        name="strg_nl",
        source="Wang, Gupta 2018, Videos as space-time region graphs",
        published=(Published("Charades", "mAP", 39.7, "10x3", _TABLE_7),),
        reason="needs boxes of objects from a detector of its own for every frame; no maintained implementation exists",
        gmacs=630.0,
        views=(10, 3),
    ),
    QuotedCard(
        name="lfb_nl",
        source="Wu et al. 2019, Long-term feature banks",
        published=(Published("Charades", "mAP", 42.5, "10x3", _TABLE_7),),
        reason="needs a bank of features of the whole video, computed beforehand by a second network; the code is for "
        "Caffe2 and no maintained implementation exists",
        gmacs=529.0,
        views=(10, 3),
    ),
    QuotedCard(
        name="slowfast_nl",
        source="Feichtenhofer et al. 2019, SlowFast networks",
        published=(Published("Charades", "mAP", 42.5, "10x3", _TABLE_7),),
        reason="SlowFast with non-local blocks, which pytorchvideo does not build; those of this catalogue have none",
        gmacs=234.0,
        views=(10, 3),
    ),
)
