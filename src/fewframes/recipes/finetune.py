"""Fine-tuning of published weights: nothing comes in, a config goes out."""

from fewframes.training.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig

__all__ = ["finetune"]


def finetune() -> TrainConfig:
    """STAM-16 from its published Kinetics-400 weights, all layers trained; wants a GPU.

    Command: fewframes train finetune VIDEOS --output runs/mine
    Hardware: one GPU with 16 GB or more; --optim.accumulate 8 halves the memory thrice.
    Source: the STAM release's second version (AdamW, weight decay 1e-3, learning rate 1e-5 at batch 64, warm-up of a
    tenth, cosine), in the 30 epochs of the paper's section 4.1. The new head learns ten times faster; that is ours.
    """
    return TrainConfig(
        data=DataConfig(workers=8),
        model=ModelConfig(name="stam_16", init_from="stam_16"),
        augment=AugmentConfig(max_zoom=1.25),
        optim=OptimConfig(
            lr=1e-5,
            temporal_lr_factor=10.0,
            weight_decay=1e-3,
            epochs=30,
            warmup_epochs=3,
            batch_size=64,
            accumulate=8,
        ),
        output="runs/finetune",
        precision="bfloat16",
    )
