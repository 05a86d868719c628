"""What settings are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Days = Annotated[float, Field(gt=0, le=36_500)]
Bytes = Annotated[int, Field(gt=0)]
MOST = 2**63 - 1
"""What a database's integer holds."""
Count = Annotated[int, Field(ge=0, le=MOST)]
Secret = Annotated[SecretStr, Field(min_length=1)]
LongSecret = Annotated[SecretStr, Field(min_length=16)]
TENANT_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class Group(BaseModel):
    """A part of the settings. Its name in the reference is the docstring's first line."""
