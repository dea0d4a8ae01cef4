"""What every config object is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Scalar = bool | int | float | str
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Config(BaseModel):
    """Base of every config: frozen, unknown keys refused, numbers must be finite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, strict=False
    )
