"""How many requests a second are offered, over time: steady, a ramp, a spike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, model_validator

from models.settings import Settings
from pipeline.errors import ConfigError, nearest


class Profile(Settings):
    """A rate over time, straight between corners."""

    rate: float = Field(default=10.0, gt=0)
    """Requests a second, at first."""
    seconds: float = Field(default=30.0, gt=0)
    """How long requests are sent."""

    @abstractmethod
    def corners(self) -> list[tuple[float, float]]:
        """(Seconds, requests a second), ascending; two of the same time are a jump."""

    @abstractmethod
    def __str__(self) -> str:
        """In a few words."""


class Steady(Profile):
    """The same rate all the time."""

    def corners(self) -> list[tuple[float, float]]:
        return [(0.0, self.rate), (self.seconds, self.rate)]

    def __str__(self) -> str:
        return f"steady {self.rate:g}/s for {self.seconds:g} s"


class Ramp(Profile):
    """From one rate to another, evenly: shows at which rate a server is no longer able to follow."""

    peak: float = Field(gt=0)
    """Requests a second at the end; may be the lower one."""

    def corners(self) -> list[tuple[float, float]]:
        return [(0.0, self.rate), (self.seconds, self.peak)]

    def __str__(self) -> str:
        return f"ramp from {self.rate:g}/s to {self.peak:g}/s in {self.seconds:g} s"


class Spike(Profile):
    """A steady rate with a sudden crowd in the middle: shows whether and how fast a server recovers."""

    peak: float = Field(gt=0)
    """Requests a second of the crowd."""
    spike_seconds: float = Field(default=5.0, gt=0)
    """How long the crowd stays."""

    @model_validator(mode="after")
    def _within(self) -> Spike:
        if self.spike_seconds >= self.seconds:
            raise ValueError(f"the spike of {self.spike_seconds:g} s does not fit into {self.seconds:g} s")
        return self

    def corners(self) -> list[tuple[float, float]]:
        begin = (self.seconds - self.spike_seconds) / 2
        end = begin + self.spike_seconds
        low, high = self.rate, self.peak
        return [(0.0, low), (begin, low), (begin, high), (end, high), (end, low), (self.seconds, low)]

    def __str__(self) -> str:
        return f"{self.rate:g}/s for {self.seconds:g} s with {self.peak:g}/s for {self.spike_seconds:g} s in the middle"


PROFILES: dict[str, type[Profile]] = {"steady": Steady, "ramp": Ramp, "spike": Spike}


def profile_of(name: str, values: Mapping[str, Any]) -> Profile:
    """A profile by its name.

    Args:
        values: of its fields; None for what was not given.

    Raises:
        ConfigError: there is none of that name, or a value is missing, out of range or not its own.
    """
    if name not in PROFILES:
        raise ConfigError(f"There is no profile {name!r}. {nearest(name, PROFILES)}")
    try:
        return PROFILES[name].model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(_said(one) for one in error.errors())
        raise ConfigError(f"The profile {name} cannot be made: {wrong}.") from error


def _said(error: Any) -> str:
    place, given = "".join(map(str, error["loc"])), f" (given {error['input']})"
    if error["type"] == "missing":
        return f"{place} is missing"
    if error["type"] == "extra_forbidden":
        return f"it has no {place}{given}"
    return f"{place}: {error['msg']}{given}" if place else error["msg"].removeprefix("Value error, ")
