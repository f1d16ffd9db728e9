"""The table of a stage that asks a judge which of two answers is better.

May import: sections. Nothing heavy: `aha --help` loads this.
"""

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from aha.config.sections import JudgeConfig, Section


class JudgingConfig(Section):
    """Preference pairs from a judge, for those who have none. DeepSeek-R1, supplement B.2 (v2 §3.1)."""

    answers: str | list[str]
    """Questions with several answers each: `stage:NAME` of a sampling stage (all that it sampled, whatever
    the verdict), its folder, or WHERE[?key=value&...]; one or a list. See docs/reward_models.md."""
    judge: JudgeConfig
    """Who is asked: url and model of an endpoint, or path of a model of this machine (paper: V3)."""
    rounds: int = Field(2, ge=1)
    """Times that a pair is put to the judge in both orders; 2 are the paper's four askings."""
    margin: float = Field(1.0, ge=0, lt=2)
    """A pair is kept if the mean of its scores, -2 to 2, is further from 0 than this (paper: 1)."""
    per_question: int = Field(1, ge=1)
    """Pairs of different answers to one question, at most, drawn with the seed."""
    length_bound: float = Field(1.1)
    """Pairs are dropped until the geometric mean of length(chosen) / length(rejected) is within
    1/length_bound and length_bound (paper: "comparable"); 0 drops none for it, else 1 or more."""
    part: Literal["summary", "whole"] = "summary"
    """What counts as length: the text after the thinking, or everything. As in the stage that learns."""
    max_judge_failures: float = Field(0.05, ge=0, le=1)
    """Share of the pairs on which the judge did not answer above which the stage stops; its replies so far
    are kept."""

    @field_validator("judge", mode="before")
    @classmethod
    def _is_a_table(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("a table here: url and model of an endpoint, or path of a model")
        return value

    @model_validator(mode="after")
    def _works(self) -> "JudgingConfig":
        if not self.answers:
            raise ValueError('answers: name at least one source, such as "stage:NAME"')
        if not math.isfinite(self.length_bound) or 0 != self.length_bound < 1:
            raise ValueError(
                f"length_bound={self.length_bound:g}: 1 is exact balance; write 1 or more, or 0 for none"
            )
        return self
