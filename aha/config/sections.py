"""The tables of a recipe: a type, a default, a unit and a sentence for each field.

What depends on two fields of a table is checked here, when the table is built. Which tables a recipe
has is in recipe.py; how a file becomes one is in reading.py.

May import: nothing of ours. Nothing heavy: `aha --help` loads this.
"""

import math
import re
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)


class Section(BaseModel):
    """A table of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_place(cls, raw: Any) -> Any:
        """Naming one key of a sub-section leaves its other keys at the defaults of that place."""
        if not isinstance(raw, dict):
            return raw
        given = {}
        for name, value in raw.items():
            field = cls.model_fields.get(name)
            if isinstance(value, dict) and field and isinstance(field.default, Section):
                value = field.default.model_dump() | value
            given[name] = value
        return given

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[info.field_name].annotation if info.field_name else None
        if isinstance(value, bool) and kind in (int, float):
            raise ValueError("write a number, not true or false")
        return value


class ModelConfig(Section):
    """The model that is trained."""

    path: str = "aha:base"
    """`aha:base` (comes with the package), a folder, a name fetched by `aha model get`, or a hub id."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Working dtype of weights and activations; masters and moments are float32 always. auto:
    float32 below 50M parameters, else bfloat16 where the machine computes it fast."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model lives. auto: the GPU if there is one."""
    lora_rank: int = Field(0, ge=0)
    """0 trains all weights; above 0 trains low-rank adapters of this rank (extra `lora`)."""
    lora_alpha: float = Field(32.0, gt=0)
    """Adapters are scaled by lora_alpha / lora_rank."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about 1/3 more time."""


class DataConfig(Section):
    """What is asked. A source is WHERE[?key=value&...]: see docs/data.md."""

    train: str | list[str] = "arithmetic"
    """Training problems: a procedural task, a .jsonl(.gz)/.parquet/.csv file, a folder, or a hub id.
    A list mixes several by their `weight=`."""
    heldout: str | list[str] = ""
    """Held-out problems, one source or a list; "" takes the held-out part of `train`."""
    overlap_words: int = Field(10, ge=0)
    """Training problems that share this many words in a row with a held-out one are left out (paper:
    10); 0 leaves out the same questions only."""
    template: str = "r1-zero"
    """`r1-zero` (the paper's, byte for byte), `chat` (the model's own chat template), or a file."""
    system: str = ""
    """System message, with the chat template only."""
    suffix: str = ""
    """Appended to each question, e.g. a request for \\boxed{}."""
    think_tag: str = Field("think", min_length=1)
    """Name of the tag around the thinking."""
    answer_tag: str = "answer"
    """Name of the tag around the answer. "": none; the answer is what follows the thinking, its value in a
    box (not with r1-zero, whose text names the tag)."""
    max_prompt_tokens: int = Field(1024, ge=1)
    """Longer prompts are dropped and counted, never cut."""
    max_bad_share: float = Field(0.01, ge=0, le=1)
    """Share of broken rows above which the run stops."""

    @model_validator(mode="after")
    def _answers_are_found(self) -> "DataConfig":
        if not self.answer_tag and self.template == "r1-zero":
            raise ValueError(
                "answer_tag='': the template r1-zero asks for an answer in its tag; set template='chat' or "
                "a template file, or name the tag"
            )
        return self


class OptimConfig(Section):
    """AdamW."""

    lr: float = Field(1e-6, gt=0)
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate after warm-up."""
    min_lr_share: float = Field(0.0, ge=0, le=1)
    """Where linear and cosine end, as a share of `lr`."""
    warmup_steps: int = Field(0, ge=0)
    """Steps of linear warm-up from 0."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """Decay of the second moment."""
    eps: float = Field(1e-8, gt=0)
    """Added to the root of the second moment."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled decay of matrices (not of norms, biases and embeddings)."""
    grad_clip: float = Field(1.0, gt=0)
    """Largest gradient norm; larger ones are scaled down."""


class EvalConfig(Section):
    """Held-out evaluation, during RL and by `aha eval`. Paper: temperature 0.6, top-p 0.95."""

    problems: int = Field(128, ge=1)
    """Held-out problems used (the first ones, the same each time)."""
    samples: int = Field(4, ge=1)
    """k: answers to each problem."""
    temperature: float = Field(0.6, ge=0)
    """0 is greedy."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus: smallest set of tokens with this probability."""
    top_k: int = Field(0, ge=0)
    """Only the k likeliest tokens; 0 is off."""
    max_answer_tokens: int = Field(0, ge=0)
    """Cap on answer tokens; 0 takes the stage's."""


class PretrainConfig(Section):
    """The embedded base model and base students, from random weights."""

    architecture: Literal["deepseek_v3", "qwen2", "llama"] = "deepseek_v3"
    """deepseek_v3: MLA and mixture of experts (the base); qwen2, llama: dense (students)."""
    tokens: int = Field(32_000_000, ge=1000)
    """Training tokens."""
    vocab_size: int = Field(1536, ge=300)
    """Byte-level BPE; digits and Chinese characters are single tokens."""
    corpus_documents: int = Field(4_000, ge=100)
    """Documents that the tokenizer is trained on."""
    context: int = Field(256, ge=32)
    """Tokens in one packed training row."""
    batch_tokens: int = Field(2048, ge=64)
    """Tokens in one optimizer step."""
    hidden: int = Field(128, ge=16)
    """Width."""
    layers: int = Field(4, ge=1)
    """Blocks; the first is dense, the others are mixtures of experts."""
    heads: int = Field(4, ge=1)
    """Attention heads."""
    kv_heads: int = Field(0, ge=0)
    """Heads of keys and values (qwen2, llama); 0 takes as many as `heads`."""
    experts: int = Field(8, ge=2)
    """Routed experts of a block."""
    experts_per_token: int = Field(2, ge=1)
    """Routed experts that see a token; one shared expert sees all."""
    expert_width: int = Field(128, ge=8)
    """Inner width of an expert."""
    dense_width: int = Field(384, ge=8)
    """Inner width of a dense block."""
    bias_rate: float = Field(0.003, ge=0)
    """Step of the router bias by load, per optimizer step (loss-free balancing)."""
    balance_coef: float = Field(1e-4, ge=0)
    """Weight of the sequence-wise balance loss."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Type of matrix products and activations; weights, moments and the loss are float32."""
    checkpoint_every: int = Field(500, ge=1)
    """Optimizer steps between checkpoints."""
    optim: OptimConfig = OptimConfig(
        lr=3e-3, schedule="cosine", min_lr_share=0.05, warmup_steps=100, weight_decay=0.1
    )


class SftConfig(Section):
    """Supervised training on dialogues. DeepSeek-R1 §2.3.1, §2.3.3, §2.4; numbers: v2 §B.4.2, §F."""

    start: str = ""
    """Model to start from; "" takes model.path. `stage:NAME` is what another stage made."""
    train: str | list[str]
    """Dialogues to learn: WHERE[?key=value&...], one or a list; see docs/data.md."""
    heldout: str | list[str] = ""
    """Dialogues that are not learned, for the held-out loss; "" sets some of `train` aside."""
    heldout_share: float = Field(0.02, ge=0, lt=1)
    """Share of `train` that is set aside where `heldout` is ""; at most 200 dialogues."""
    turns: Literal["last", "all"] = "last"
    """Which turns of the assistant are learned: the last one, or each with what stands before it."""
    epochs: float = Field(2.0, gt=0)
    """Passes over the data (paper: 2-3)."""
    examples_per_step: int = Field(64, ge=1)
    """Answers in one optimizer step (paper: 128 for R1, 64 for distillation)."""
    max_tokens: int = Field(2048, ge=2)
    """Longer examples, prompt and answer together, are left out and counted, never cut (paper: 32,768)."""
    eval_every: int = Field(0, ge=0)
    """Steps between measurements of the held-out loss; 0 measures only before and after."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between checkpoints."""
    keep_last: int = Field(2, ge=1)
    """Newest checkpoints kept."""
    optim: OptimConfig = OptimConfig(lr=5e-5, schedule="cosine", min_lr_share=0.1)


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


class JudgeConfig(Section):
    """A language model that compares answers with the gold, as a reward: 1 or 0."""

    url: str = ""
    """Address of an OpenAI-compatible endpoint up to its version, e.g. http://127.0.0.1:8000/v1."""
    model: str = ""
    """Name of the model there."""
    key_env: str = ""
    """Environment variable that holds the key; "" sends none."""
    path: str = ""
    """Instead of an endpoint: a model of this machine, decoded by our own engine."""
    max_tokens: int = Field(1024, ge=1)
    """Cap on a reply; a reply that is cut holds no verdict."""
    seconds: float = Field(120.0, gt=0)
    """For one asking, all tries together; then there is no verdict."""
    parallel: int = Field(8, ge=1)
    """Requests at a time."""

    @model_validator(mode="after")
    def _one_place(self) -> "JudgeConfig":
        if bool(self.url) == bool(self.path) or (self.url and not self.model):
            raise ValueError("name either url and model, or path")
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
    rewards: dict[str, float] = {"accuracy": 1.0, "format": 1.0}
    """Weight of each reward (paper: accuracy and format, the same weight). Your own function is
    FILE.py:FUNCTION or MODULE:FUNCTION; see docs/rewards.md."""
    rewards_for: dict[str, dict[str, float]] = {}
    """Weights for problems of one domain or area (math, code, logic, stem, ...): they take the place of
    `rewards` there."""
    reward_models: dict[str, RewardModelConfig] = {}
    """Reward models by name; a weight of that name in `rewards` or `rewards_for` pays for the score."""
    judges: dict[str, JudgeConfig] = {}
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

        A phase is scored as a whole: the first one with at least this many steps behind it is the first.
        """
        return self.steps - math.ceil(round(self.preference_share * self.steps, 6))


class RewardTrainConfig(Section):
    """Training of a reward model. DeepSeek-R1 v2 §3.1."""

    start: str = ""
    """Language model that gets a scalar head; "" takes model.path. `stage:NAME`: what a stage made."""
    train: str | list[str]
    """Preference pairs or labelled answers: WHERE[?key=value&...], one or a list."""
    heldout: str | list[str] = ""
    """Held-out ones, for accuracy and calibration; "" sets some of `train` aside."""
    heldout_share: float = Field(0.1, ge=0, lt=1)
    """Share of `train` that is set aside where `heldout` is ""."""
    form: Literal["pairs", "labels"] = "pairs"
    """pairs: Bradley-Terry (helpfulness); labels: point-wise, safe or not (harmlessness)."""
    part: Literal["summary", "whole"] = "summary"
    """What is read: the text after the thinking, or everything."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the data (paper: 1)."""
    examples_per_step: int = Field(32, ge=1)
    """Pairs or answers in one optimizer step (paper: 256)."""
    max_tokens: int = Field(1024, ge=2)
    """Longer ones are left out and counted (paper: 8,192)."""
    center: float = Field(0.0, ge=0)
    """Weight of a term that keeps scores near 0; 0 is off."""
    eval_every: int = Field(0, ge=0)
    """Steps between held-out measurements; 0 measures only before and after."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between checkpoints."""
    keep_last: int = Field(2, ge=1)
    """Newest checkpoints kept."""
    optim: OptimConfig = OptimConfig(lr=6e-6, schedule="cosine", min_lr_share=0.1)


class DpoConfig(Section):
    """Direct preference optimisation: pairs of answers, without sampling. DeepSeekMath A.1 (DPO)."""

    start: str = ""
    """Model to start from, which is the reference too; "" takes model.path. `stage:NAME`: what a
    stage made."""
    train: str | list[str]
    """Pairs: WHERE[?key=value&...], one or a list; `stage:NAME` of a sampling stage (right against
    wrong answers) or of an RL stage (its stored rollouts). See docs/off_policy.md."""
    heldout: str | list[str] = ""
    """Held-out pairs; "" sets some of `train` aside."""
    heldout_share: float = Field(0.05, ge=0, lt=1)
    """Share of `train` that is set aside where `heldout` is ""; at most 200 pairs."""
    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference: the implicit reward is beta x log(pi/ref)."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of the pairs that are taken to be the wrong way round (conservative DPO)."""
    length_normalise: bool = False
    """Mean log-ratio of an answer's tokens in place of the sum; needs a larger beta (2-10)."""
    sft_coef: float = Field(0.0, ge=0)
    """Weight of the cross-entropy of the chosen answers, per token; it holds their likelihood up."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the pairs."""
    examples_per_step: int = Field(32, ge=1)
    """Pairs in one optimizer step."""
    max_tokens: int = Field(2048, ge=2)
    """Pairs with a longer side, prompt and answer together, are left out and counted, never cut."""
    eval_every: int = Field(0, ge=0)
    """Steps between held-out measurements; 0 measures only before and after."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between checkpoints."""
    keep_last: int = Field(2, ge=1)
    """Newest checkpoints kept."""
    optim: OptimConfig = OptimConfig(lr=5e-6, schedule="cosine", min_lr_share=0.1)


class SampleConfig(Section):
    """Answers of a model, judged and filtered, as dialogues to learn. DeepSeek-R1 §2.3.1, §2.3.3."""

    start: str = ""
    """Model that writes; "" takes model.path. `stage:NAME`: what a stage made."""
    problems: int = Field(256, ge=1)
    """Training problems that are asked, the first ones in the order of the seed."""
    samples: int = Field(8, ge=1)
    """Answers to each."""
    temperature: float = Field(1.0, gt=0)
    """Paper: 1 for cold-start data; not given for rejection sampling."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus."""
    max_answer_tokens: int = Field(512, ge=1)
    """Longer answers are cut, and dropped."""
    per_problem: int = Field(4, ge=1)
    """Answers kept of a problem, at most."""
    prompting: Literal["plain", "few_shot", "detailed"] = "plain"
    """plain: the template's question; few_shot: long worked examples in front; detailed: a request for
    reflection and verification (the routes of §2.3.1)."""
    refine: bool = False
    """Rewrite what is kept into the readable form: thinking, then a summary with the answer boxed."""
    correct: bool = True
    """Keep answers that are judged to be right only; false keeps whatever the verdict."""
    min_score: float = Field(0.0, ge=0, le=1)
    """Score that a kept answer has at least, where a grader gives parts of it (kind `talk`); 0: the verdict
    "correct" decides."""
    judge: str = ""
    """Name of one of `judges`: it compares answers with the gold where rules give no verdict (paper: V3)."""
    judges: dict[str, JudgeConfig] = {}
    """Judges by name, as in RL stages."""
    judged: list[str] = []
    """Kinds, areas or domains whose answers the judge decides about instead of the rules."""
    max_judge_failures: float = Field(0.05, ge=0, le=1)
    """Share of its answers that the judge could not be asked about above which the stage stops; its
    verdicts so far are kept."""
    bare: bool = False
    """Keep answers that hold no thinking at all, with an empty thinking part, up to where a base model goes
    on with a next question: its answers to general questions."""
    think: Literal["keep", "none", "auto"] = "keep"
    """Which answers keep their thinking: all, none (an empty thinking part stands for it), or auto: all but
    those to trivial questions (paper: none for "hello")."""
    trivial_words: int = Field(3, ge=0)
    """For `auto`: a question of the areas helpful and general with no more words is trivial, and so is a
    greeting."""
    written: str | list[str] = ""
    """Dialogues that are taken as they were written, instead of asking a model: WHERE[?key=value&...];
    filtered and put into the same form."""
    overlap_words: int = Field(10, ge=0)
    """Answers that share this many words in a row with a held-out problem are dropped; 0 is off."""
    grader_seconds: float = Field(2.0, gt=0)
    """Deadline of one grading."""
    grader_workers: int = Field(2, ge=1)
    """Grader processes."""
    sandbox: Literal["auto", "bwrap", "landlock", "none"] = "auto"
    """Where programs that the model writes run."""

    @model_validator(mode="after")
    def _verdicts_fit(self) -> "SampleConfig":
        if self.judge and self.judge not in self.judges:
            there = ", ".join(self.judges) or "none"
            raise ValueError(f"judge='{self.judge}' names no table of judges (there: {there})")
        if self.judges and not self.judge:
            raise ValueError(f"judges has {', '.join(self.judges)}, but judge='' asks none of them")
        if self.judged and not self.judge:
            raise ValueError("judged names what a judge decides about: set judge too")
        if self.judge and not self.correct:
            raise ValueError("correct=false keeps every answer: a judge has nothing to decide")
        if self.written and (self.judge or self.refine):
            raise ValueError("written dialogues are taken as they are: leave out judge and refine")
        return self


class MeasuresConfig(Section):
    """What is measured of every stage's model, on held-out prompts. DeepSeek-R1 Table 3 (v2), §D.1."""

    heldout: dict[str, str]
    """Held-out prompts by the name of their row: WHERE[?key=value&...]; see docs/data.md."""
    problems: int = Field(64, ge=1)
    """Prompts of each source (the first ones, the same for every stage)."""
    samples: int = Field(16, ge=1)
    """k: answers to each prompt (paper: 4 to 64)."""
    temperature: float = Field(0.6, ge=0)
    """Paper: 0.6; 0 is greedy."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus (paper: 0.95)."""
    max_answer_tokens: int = Field(512, ge=1)
    """Longer answers are cut, and count as they stand (paper: 32,768)."""
    stages: list[str] = Field([])
    """Stages that are measured; [] takes every stage that makes a model that writes text."""
    base: bool = False
    """Measure model.path itself, too, as the first column."""
    grader_seconds: float = Field(2.0, gt=0)
    """Deadline of one grading."""
    grader_workers: int = Field(2, ge=1)
    """Grader processes."""
    sandbox: Literal["auto", "bwrap", "landlock", "none"] = "auto"
    """Where programs that the model writes run."""

    @model_validator(mode="after")
    def _named(self) -> "MeasuresConfig":
        if not self.heldout:
            raise ValueError('heldout: name at least one source, such as arithmetic = "arithmetic"')
        for name in self.heldout:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or name == "all":
                raise ValueError(
                    f"heldout.{name}: a source is called by small letters, digits and _, and not all"
                )
        return self
