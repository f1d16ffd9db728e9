"""The tables of reinforcement learning: rewards by models and judges, and the stage itself.

May import: sections. Nothing heavy: `aha --help` loads this.
"""

import math
from typing import Literal

from pydantic import Field, model_validator

from aha.config.sections import EvalConfig, JudgeConfig, OptimConfig, Section


class RewardModelConfig(Section):
    """A reward model as a reward: a sequence classifier with one label."""

    path: str
    """A folder, a name fetched by `aha model get`, or a hub id."""
    part: Literal["summary", "whole"] = "summary"
    """What it reads: the text after the thinking (paper: helpfulness), or everything (harmlessness)."""
    center: float = 0.0
    """Taken off each score (the paper scales no score)."""
    scale: float = Field(1.0, gt=0)
    """Multiplies what is left."""
    sigmoid: bool = False
    """Squeeze the result into 0..1, so that it cannot outweigh the other rewards."""
    normalise: Literal["none", "start"] = "none"
    """start: center and scale are measured once, on answers of the starting policy (docs/departures.md)."""
    normalise_questions: int = Field(32, ge=2)
    """Training questions that are answered for it, group_size answers to each."""

    @model_validator(mode="after")
    def _one_level(self) -> "RewardModelConfig":
        if self.normalise == "start" and (self.center != 0 or self.scale != 1):
            raise ValueError(
                "normalise='start' measures center and scale: leave both out, or set "
                "normalise='none'"
            )
        return self


class ZeroConfig(Section):
    """R1-Zero: GRPO from a base model. DeepSeek-R1 §2.2, Methods; numbers of the paper in docs."""

    start: str = ""
    """Model to start from; "" takes model.path. `stage:NAME` is what another stage made."""
    steps: int = Field(100, ge=1)
    """Optimizer steps."""
    prompts_per_step: int = Field(32, ge=1)
    """Questions in one optimizer step (paper: 32)."""
    group_size: int = 16
    """Answers to each question: G in DeepSeek-R1 Eq. 1 (paper: 16)."""
    minibatches: int = Field(1, ge=1)
    """Optimizer steps after one rollout phase (paper: 16). A phase asks
    minibatches x prompts_per_step questions."""
    max_answer_tokens: int = Field(512, ge=1)
    """Longer answers are cut, and count as answers without an end."""
    temperature: float = Field(1.0, gt=0)
    """Rollouts sample from logits / temperature; nothing else (paper: 1)."""
    rewards: dict[str, float] = Field({"accuracy": 1.0, "format": 1.0})
    """Weight of each reward (paper: accuracy and format, the same weight). Your own function is
    FILE.py:FUNCTION or MODULE:FUNCTION; see docs/rewards.md."""
    rewards_for: dict[str, dict[str, float]] = Field({})
    """Weights for problems of one domain or area (math, code, logic, stem, ...): they take the place of
    `rewards` there."""
    reward_models: dict[str, RewardModelConfig] = Field({})
    """Reward models by name; a weight of that name in `rewards` or `rewards_for` pays for the score."""
    judges: dict[str, JudgeConfig] = Field({})
    """Judges by name, weighted like reward models."""
    preference_share: float = Field(1.0, gt=0, le=1)
    """Reward models and judges count in this last share of the steps only (paper, last stage: 0.235)."""
    length_low: int = Field(0, ge=0)
    """Reward `length_band`: shorter answers lose up to 1; tokens."""
    length_high: int = Field(0, ge=0)
    """Reward `length_band`: longer answers lose up to 1; tokens. 0 takes max_answer_tokens."""
    advantage: Literal["std", "no_std", "leave_one_out"] = "std"
    """std: Eq. 3, sample standard deviation; no_std: centred only (Dr. GRPO); leave_one_out: RLOO."""
    ratio: Literal["token", "sequence", "sequence_mean"] = "token"
    """Importance ratio: per token (DeepSeekMath), of the whole answer (R1 Eq. 1), or its
    length-normalised form (GSPO)."""
    aggregation: Literal["answer_mean", "token_mean", "constant"] = "answer_mean"
    """answer_mean: DeepSeekMath; token_mean: DAPO; constant: by max_answer_tokens (Dr. GRPO)."""
    clip_low: float = Field(0.2, ge=0)
    """The ratio's gain stops at 1 - clip_low."""
    clip_high: float = Field(0.2, ge=0)
    """The ratio's gain stops at 1 + clip_high (paper, first RL stage: 10)."""
    dual_clip: float = Field(0.0, ge=0)
    """With a negative advantage the loss is bounded at this ratio; 0 is off, else above 1."""
    kl_coef: float = Field(0.001, ge=0)
    """beta of the KL term, k3, inside the loss (paper: 0.001). 0 keeps no reference in memory."""
    reference_every: int = Field(400, ge=0)
    """Steps between renewals of the reference (paper: 400); 0 never renews."""
    old_logprobs: Literal["engine", "trainer"] = "engine"
    """Denominator of the ratio: the sampler's own, or recomputed by the trainer."""
    truncated_is: float = Field(0.0, ge=0)
    """Cap of the engine-to-trainer importance weight; 0 is off. Needs old_logprobs = trainer."""
    dynamic_sampling: int = Field(0, ge=0)
    """Refills of flat groups with new questions, at most this often a phase; 0 is off."""
    overlong: Literal["keep", "mask"] = "keep"
    """Answers cut at the cap: keep them with their reward, or mask them out of the loss."""
    overlong_penalty_tokens: int = Field(0, ge=0)
    """The reward falls linearly by 1 over the last this many tokens before the cap; 0 is off."""
    prefix_sharing: bool = True
    """Compute a prompt once for its whole group in training."""
    max_gap: float = Field(0.1, gt=0)
    """Bound on the mean |log p_trainer - log p_engine| of a step; the run stops above it."""
    max_grader_failures: float = Field(0.05, ge=0, le=1)
    """Share of grader failures in a phase above which the run stops."""
    grader_seconds: float = Field(2.0, gt=0)
    """Deadline of one grading; the worker is killed after it."""
    grader_workers: int = Field(2, ge=1)
    """Grader processes."""
    sandbox: Literal["auto", "bwrap", "landlock", "none"] = "auto"
    """Where programs that the model writes run (problems of kind `code`). auto: the strongest that works
    here; without one no program is run. none: no protection at all."""
    preflight: int = Field(64, ge=0)
    """Answers sampled before the first step, to see whether there is anything to learn (whole
    groups; up to four times as many while no group holds both right and other answers); 0 is off."""
    plateau_window: int = Field(0, ge=0)
    """Steps of a window: the stage ends when accuracy (reward, where nothing is graded) no longer rises
    from one window to the next. 0 is off (paper, first RL stage: "until convergence")."""
    plateau_gain: float = Field(0.005, ge=0)
    """Least rise between two windows that goes on."""
    preflight_strict: bool = True
    """A preflight that says "cannot learn" stops the run; false says so and goes on."""
    eval_every: int = Field(0, ge=0)
    """Steps between held-out evaluations; 0 evaluates only before and after."""
    checkpoint_every: int = Field(20, ge=1)
    """Steps between checkpoints (taken at the end of a phase)."""
    keep_last: int = Field(2, ge=1)
    """Newest checkpoints kept; the one with the best held-out pass@1 is kept too."""
    optim: OptimConfig = OptimConfig(lr=3e-6)
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def _works(self) -> "ZeroConfig":
        if self.group_size < 2:
            raise ValueError(
                f"group_size={self.group_size}: a group of one has no spread, so its advantage is "
                "always 0 and nothing is learned; set group_size to 2 or more"
            )
        if 0 < self.dual_clip <= 1:
            raise ValueError(f"dual_clip={self.dual_clip}: set it above 1 (usual: 3), or 0 for off")
        if self.truncated_is and self.old_logprobs != "trainer":
            raise ValueError("truncated_is corrects engine to trainer: set old_logprobs='trainer'")
        if self.steps % self.minibatches:
            raise ValueError(
                f"steps={self.steps} is not a multiple of minibatches={self.minibatches}: "
                "a rollout phase feeds that many steps"
            )
        for name, weights in (("rewards", self.rewards), *self.rewards_for.items()):
            where = name if name == "rewards" else f"rewards_for.{name}"
            if not weights or all(weight == 0 for weight in weights.values()):
                raise ValueError(f"{where}: name at least one reward with a weight other than 0")
            if not all(math.isfinite(weight) for weight in weights.values()):
                raise ValueError(f"{where}: {weights}: a weight is a finite number")
        self._early_rewards()
        if self.plateau_window % self.minibatches:
            raise ValueError(
                f"plateau_window={self.plateau_window} is not a multiple of "
                f"minibatches={self.minibatches}: a phase is not divided"
            )
        if self.plateau_window and self.dynamic_sampling:
            raise ValueError(
                "plateau_window needs dynamic_sampling = 0: groups that are all right or all wrong are then "
                "replaced, and what is left rises little however much is learned"
            )
        if self.length_high and self.length_high < self.length_low:
            raise ValueError(
                f"length_low={self.length_low} is above length_high={self.length_high}"
            )
        return self

    def _early_rewards(self) -> None:
        """Before the preference rewards count, every table must pay for something else."""
        if self.preference_share == 1:
            return
        preferences = self.preferences
        if not preferences:
            raise ValueError(
                f"preference_share={self.preference_share} is for reward_models and judges, and there "
                "are none; leave it out"
            )
        for name, weights in (("rewards", self.rewards), *self.rewards_for.items()):
            if not any(w for reward, w in weights.items() if reward not in preferences):
                where = name if name == "rewards" else f"rewards_for.{name}"
                raise ValueError(
                    f"{where}: with preference_share={self.preference_share} its problems would earn "
                    "nothing at first; give a rule reward a weight too, such as format = 1.0"
                )

    @property
    def preferences(self) -> frozenset[str]:
        """Names of the rewards that a model's opinion gives."""
        return frozenset(self.reward_models) | frozenset(self.judges)

    @property
    def preference_from(self) -> int:
        """Steps before reward models and judges count: the last preference_share of the steps is theirs.

        A phase is scored as a whole, so it is the beginning of the phase in which that share begins.
        """
        first = self.steps - math.ceil(round(self.preference_share * self.steps, 6))
        return first - first % self.minibatches
