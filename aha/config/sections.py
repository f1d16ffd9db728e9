"""The tables of a recipe: a type, a default, a unit and a sentence for each field.

What depends on two fields of a table is checked here, when the table is built. Which tables a recipe
has is in recipe.py; how a file becomes one is in reading.py.

May import: nothing of ours. Nothing heavy: `aha --help` loads this.
"""

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
    max_positions: int = Field(0, ge=0)
    """Positions that the model is to have (max_position_embeddings), saved with it; 0 keeps its own. More
    than it was trained for have to be learned."""
    rope_theta: float = Field(0.0, ge=0)
    """Base of the rotary angles, saved with the model; 0 keeps its own."""


class DataConfig(Section):
    """What is asked. A source is WHERE[?key=value&...]: see docs/data.md."""

    train: str | list[str] = "arithmetic"
    """Training problems: a procedural task, a .jsonl(.gz)/.parquet/.csv file, a folder, or a hub id.
    A list mixes several by their `weight=`."""
    heldout: str | list[str] = ""
    """Held-out problems, one source or a list; "" takes the held-out part of `train`."""
    overlap_words: int = Field(10, ge=0)
    """Training problems that share this many words in a row with a held-out one are left out (paper:
    10); 0 leaves out the same questions only. Dialogues of supervised stages go by it too; 0 checks none."""
    template: str = "r1-zero"
    """`r1-zero` (the paper's, byte for byte), `chat` (the model's own chat template), or a file."""
    chat_template: str = ""
    """With `chat`: "" takes the tokenizer's own template; `plain` (comes with the package), or the path of a
    .jinja file, puts this one in its place. It is saved with the model that is trained."""
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
        if self.chat_template and self.template != "chat":
            raise ValueError(
                f"chat_template='{self.chat_template}' is read with template='chat' only, not with "
                f"template='{self.template}': set template='chat', or leave it out"
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


class RefinerConfig(JudgeConfig):
    """A language model that rewrites right answers into the readable form (paper: V3). v2 §B.3.2."""

    max_tokens: int = Field(4096, ge=1)
    """Cap on a reply, thinking or solution; a sample whose reply is cut is refused and counted."""
    seconds: float = Field(600.0, gt=0)
    """For one asking, all tries together; then there is no reply."""


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
    examples: str = ""
    """For few_shot: dialogues to show, each one question and its answer: WHERE[?key=value&...]; "" takes
    ours."""
    shots: int = Field(0, ge=0)
    """For few_shot: examples in front of a question; 0 takes 2 for a chat model and 1 for a base model."""
    refine: bool = False
    """Rewrite what is kept into the readable form: thinking, then a summary with the answer boxed."""
    refine_by: str = ""
    """Name of one of `refiners`, which rewrites (paper: V3); "" rewrites by rules."""
    refiners: dict[str, RefinerConfig] = Field({})
    """Models that rewrite, by name: url and model of an endpoint, or path; `path = "stage:NAME"` is the model
    of a stage, also the one that wrote the answers."""
    max_refiner_failures: float = Field(0.05, ge=0, le=1)
    """Share of its askings that the refiner may leave without a reply; above it the stage stops, and the
    replies so far are kept."""
    correct: bool = True
    """Keep answers that are judged to be right only; false keeps whatever the verdict."""
    min_score: float = Field(0.0, ge=0, le=1)
    """Score that a kept answer has at least, where a grader gives parts of it (kind `talk`); 0: the verdict
    "correct" decides."""
    judge: str = ""
    """Name of one of `judges`: it compares answers with the gold where rules give no verdict (paper: V3)."""
    judges: dict[str, JudgeConfig] = Field({})
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
    def _rewriting_fits(self) -> "SampleConfig":
        if self.refine_by and self.refine_by not in self.refiners:
            there = ", ".join(self.refiners) or "none"
            raise ValueError(
                f"refine_by='{self.refine_by}' names no table of refiners (there: {there})"
            )
        if self.refiners and not self.refine_by:
            raise ValueError(
                f"refiners has {', '.join(self.refiners)}, but refine_by='' asks none of them"
            )
        if self.refine_by and not self.refine:
            raise ValueError("refine_by says who rewrites: set refine = true too")
        if (self.examples or self.shots) and self.prompting != "few_shot":
            raise ValueError(
                f"examples and shots are for prompting = 'few_shot', not '{self.prompting}'"
            )
        return self

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
    """Measure model.path itself, too, as the first column, and every other model from elsewhere that a
    measured stage starts from, as FIRST_STAGE_base."""
    reward_model: str = ""
    """Reward model that scores answers to conversation and open prompts: a folder, a name, a hub id, or
    `stage:NAME`, which is waited for. "" asks none."""
    reward_part: Literal["summary", "whole"] = "summary"
    """What it reads: the text after the thinking (paper: helpfulness), or everything (harmlessness)."""
    judge: JudgeConfig | None = None
    """Judge that compares these answers with those of the model before, in both orders."""
    opinions_on: list[str] = Field([])
    """Sources that reward model and judge are asked about; [] takes every one with such prompts."""
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
        for name in self.opinions_on:
            if name not in self.heldout:
                there = ", ".join(self.heldout)
                raise ValueError(f"opinions_on names {name!r}, which is no source (there: {there})")
        if self.opinions_on and not self.reward_model and self.judge is None:
            raise ValueError(
                "opinions_on: name a reward_model or a judge, whose opinions these are"
            )
        return self
