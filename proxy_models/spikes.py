"""Loss spikes: batches whose loss stands far out of the last ones, and what is done about them."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# The median absolute deviation of a normal distribution, times this, is its standard deviation.
NORMAL_DEVIATIONS = 1.4826


@dataclass(frozen=True)
class SpikeRule:
    """A loss more than `deviations` above the median of the last `window` ones, in their scaled median absolute
    deviations, or one that is not finite, or whose gradient is not, is a spike. Nothing but the latter is one before
    `window` losses are there.

    response: "skip" leaves the weights as they are at this step (as OLMo 2's SkipStepAdamW); "rewind" goes back to the
    weights of the newest checkpoint and on behind the spike, without the batches between (PaLM, Chowdhery et al. 2022,
    section 5.1). at_most: spikes in one run; one more ends it.
    """

    response: Literal["skip", "rewind"] = "skip"
    deviations: float = 10.0
    window: int = 128
    at_most: int = 10

    def __post_init__(self) -> None:
        if self.response not in ("skip", "rewind"):
            raise ValueError(f"no response {self.response!r} to a loss spike; give skip or rewind")
        if self.deviations <= 0 or self.window < 2 or self.at_most < 0:
            raise ValueError(f"deviations must be above 0, window at least 2, at_most at least 0: {self}")

    def limit(self, losses: Sequence[float]) -> float:
        """The largest loss that is no spike after these; spikes among them are not given."""
        if len(losses) < self.window:
            return math.inf
        last = losses[-self.window :]
        median = statistics.median(last)
        spread = NORMAL_DEVIATIONS * statistics.median(abs(loss - median) for loss in last)
        return median + self.deviations * max(spread, 1e-3 * abs(median))  # equal losses have no spread
