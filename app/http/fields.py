"""Parts of the schemas of several nouns."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_LABELS = 16
Label = Annotated[str, StringConstraints(max_length=500)]
# Brackets would end a filter's name early.
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\[\]\x00-\x1f\x7f]+$")]
Labels = Annotated[dict[LabelName, Label], Field(max_length=MAX_LABELS)]
NO_CONTROL = r"^[^\x00-\x1f\x7f]+$"


class Strict(BaseModel):
    """Refuses unknown fields."""

    model_config = ConfigDict(extra="forbid")
