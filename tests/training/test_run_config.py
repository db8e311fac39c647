"""How a run is carried out: what cannot be is refused by its name, and nothing changes unless asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fewframes.errors import UsageError
from fewframes.training.run_config import (
    AverageConfig,
    BalanceConfig,
    DistillConfig,
    GuardsConfig,
    MixConfig,
    ScaleConfig,
)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (MixConfig, {"mixup_alpha": -0.1}, r"mix\.mixup_alpha is -0\.1; expected at least 0"),
        (MixConfig, {"cutmix_alpha": math.inf}, r"mix\.cutmix_alpha is inf; expected at least 0"),
        (AverageConfig, {"decay": 1.0}, r"average\.decay is 1\.0; expected 0 to below 1, such as 0\.9997; 0 is none"),
        (AverageConfig, {"decay": math.nan}, r"average\.decay is nan; expected 0 to below 1"),
        (GuardsConfig, {"skip_bad_steps": -1}, r"guards\.skip_bad_steps is -1; expected at least 0"),
        (GuardsConfig, {"stop_after_epochs": -1}, r"guards\.stop_after_epochs is -1; expected at least 0"),
        (GuardsConfig, {"keep_epochs": -1}, r"guards\.keep_epochs is -1; expected at least 0"),
        (DistillConfig, {"alpha": math.nan}, r"distill\.alpha is nan; expected at least 0"),
        (DistillConfig, {"temperature": math.inf}, r"distill\.temperature is inf; expected above 0"),
        (BalanceConfig, {"sampling": "balanced", "class_weights": "balanced"}, r"would count rare classes twice"),
    ],
)
def test_what_cannot_be(kind: Any, values: dict[str, Any], message: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=message):
        kind(**values)


def test_nothing_is_on_unless_asked_for() -> None:
    assert not MixConfig().is_on
    assert MixConfig(mixup_alpha=0.1).is_on
    assert MixConfig(cutmix_alpha=0.1).is_on
    assert (AverageConfig().decay, DistillConfig().teacher, BalanceConfig().sampling) == (0.0, "", "listed")
    assert (GuardsConfig().skip_bad_steps, GuardsConfig().stop_after_epochs, GuardsConfig().keep_epochs) == (0, 0, 0)
    assert ScaleConfig() == ScaleConfig("ddp", sync_batchnorm=False, recompute_blocks=False)
