"""A small STAM from random weights, for a few hundred videos and no GPU: nothing comes in, a config goes out."""

from fewframes.training.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig

__all__ = ["small"]


def small() -> TrainConfig:
    """A small STAM from random weights: hundreds of videos, no GPU, minutes.

    Command: fewframes train small VIDEOS --output runs/small
    Hardware: two CPU cores. 8 frames of 96 x 96 pixels, 1.7 million parameters.
    Source: sizes are ours; positions start from sines and cosines (Beyer et al. 2022).
    """
    return TrainConfig(
        data=DataConfig(cache_frames=32),
        model=ModelConfig(
            name="stam_8",
            options=(
                "image_size=96",
                "patch_size=16",
                "width=160",
                "depth=4",
                "heads=8",
                "drop_path=0.1",
                "aggregator=paper",
                "temporal_depth=1",
                "temporal_heads=8",
            ),
            mean=(0.45, 0.45, 0.45),
            std=(0.225, 0.225, 0.225),
        ),
        augment=AugmentConfig(),
        optim=OptimConfig(
            lr=1e-3, weight_decay=0.05, beta2=0.98, epochs=40, warmup_epochs=2, batch_size=32, label_smoothing=0.1
        ),
        output="runs/small",
        precision="bfloat16",
    )
