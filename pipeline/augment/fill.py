"""What is seen where a moved picture does not reach."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.settings import Settings


class ConstantFill(Settings):
    """One value for all channels."""

    kind: Literal["constant"] = "constant"
    """One value for all channels."""
    value: int = Field(default=0, ge=0, le=255)
    """The value, 0 (black) to 255 (white)."""
    mode: ClassVar[str] = "CONSTANT"


class ReflectFill(Settings):
    """The picture mirrored at its edge, the edge's pixels included: `c b a | a b c | c b a`."""

    kind: Literal["reflect"] = "reflect"
    """The picture mirrored at its edge."""
    mode: ClassVar[str] = "REFLECT"


class NearestFill(Settings):
    """The nearest pixel of the edge: `a a a | a b c | c c c`."""

    kind: Literal["nearest"] = "nearest"
    """The nearest pixel of the edge."""
    mode: ClassVar[str] = "NEAREST"


AnyFill = ConstantFill | ReflectFill | NearestFill
Fill = Annotated[AnyFill, Field(discriminator="kind")]
