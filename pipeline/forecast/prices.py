"""What core-hours, GPU-hours and storage cost: a small YAML file of the user's."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import RecipeError
from pipeline.forecast.estimates import Interval


class Prices(BaseModel):
    """Prices in one currency."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str
    core_hour: float = Field(ge=0)
    gpu_hour: float = Field(ge=0)
    gb_month: float = Field(ge=0)
    """Of 1e9 bytes."""
    months: float = Field(ge=0)
    """For how long what is written is kept."""

    def of(self, core_hours: Interval, gpu_hours: Interval, stored_bytes: Interval) -> Interval:
        """What these cost together."""
        storage = self.gb_month * self.months / 1e9
        return Interval.sum(
            (core_hours.scaled(self.core_hour), gpu_hours.scaled(self.gpu_hour), stored_bytes.scaled(storage))
        )


def read_prices(path: Path) -> Prices:
    """The prices of a file.

    Raises:
        RecipeError: it cannot be read, or a price is missing or wrong.
    """
    try:
        return Prices.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise RecipeError(f"--prices {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise RecipeError(f"--prices {path}: {error}\nSee deploy/prices.yaml for what such a file holds") from error
