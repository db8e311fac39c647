"""The demo's two runs, equal but for how frames are put together: nothing comes in, a config goes out."""

import dataclasses

from fewframes.training.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig

__all__ = ["demo_mean", "demo_stam"]


def demo_stam() -> TrainConfig:
    """A tiny STAM for the videos of `data synthesize`, as in `fewframes demo`.

    Command: fewframes train demo-stam runs/demo/videos --output runs/demo/stam
    Hardware: two CPU cores, about a minute and a half. 8 frames of 48 x 48 pixels, 0.5 million parameters.
    Expected: over 90 % of unseen videos of 8 classes.
    Source: STAM, Table 2, "temporal transformer", at our sizes.
    """
    return TrainConfig(
        data=DataConfig(val_fraction=0.0, cache_frames=32),
        model=ModelConfig(
            name="stam_8",
            options=(
                "image_size=48",
                "patch_size=12",
                "width=96",
                "depth=3",
                "heads=6",
                "aggregator=paper",
                "temporal_depth=1",
                "temporal_heads=6",
            ),
            mean=(0.4, 0.4, 0.4),
            std=(0.25, 0.25, 0.25),
        ),
        augment=AugmentConfig(max_zoom=1.0),
        optim=OptimConfig(lr=1.5e-3, weight_decay=0.02, beta2=0.98, epochs=16, warmup_epochs=1, batch_size=16),
        output="runs/demo/stam",
    )


def demo_mean() -> TrainConfig:
    """The same encoder, videos and budget, but frames are averaged, as in `fewframes demo`.

    Command: fewframes train demo-mean runs/demo/videos --output runs/demo/mean
    Hardware: as `demo-stam`.
    Expected: about half of unseen videos: it sees what moves, and cannot see in which order.
    Source: STAM, Table 2, "mean pooling", at our sizes.
    """
    config = demo_stam()
    model = dataclasses.replace(config.model, options=(*config.model.options[:5], "aggregator=mean"))
    return dataclasses.replace(config, model=model, output="runs/demo/mean")
