"""A reward model: a language model with one number per conversation in place of its head.

Holds:           loading, scoring and saving; a fresh head on a language model, to be trained.
Holds not:       the training of it (pairwise or point-wise), scaling or clipping of scores.
Must stay true:  a score is that of the last real token, whatever stands beside it in a batch; a
                 head that was not in the checkpoint gives no score.

DeepSeek-R1 (Methods): helpfulness is scored on the final summary only, harmlessness on the entire
response, thinking included. The paper scales no score.
"""

# B = conversations, T = tokens of the longest, D = width
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aha.data.thinking import split
from aha.errors import ModelError
from aha.models import conversation
from aha.models.load import DTYPES, describe, resolve_device, resolve_dtype
from aha.models.locate import locate

Part = Literal["summary", "whole"]
BATCH_TOKENS = 16_384
"""Tokens of one forward pass, padding included."""


class RewardModel:
    """Scores conversations. Made by `load` or `from_base`."""

    def __init__(self, model: Any, tokenizer: Any, *, think_tag: str = "think") -> None:
        head = getattr(model, "score", None)
        backbone = getattr(model, model.base_model_prefix, None)
        if type(head) is not nn.Linear or head.out_features != 1 or backbone is None:
            raise ModelError(
                f"{type(model).__name__} has no linear head `score` with one output; use a decoder "
                "with such a head (LlamaForSequenceClassification and its like)"
            )
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.think_tag = think_tag
        self.conversation = conversation.of_tokenizer(tokenizer)
        text = model.config.get_text_config()
        self.max_tokens: int | None = getattr(text, "max_position_embeddings", None)
        """Longest conversation that the positions of the model allow."""

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        dtype: str = "float32",
        think_tag: str = "think",
    ) -> "RewardModel":
        """A trained reward model: a sequence classifier with one label, in safetensors.

        `path` is anything that `locate` knows. With dtype bfloat16 (or auto, which may choose it) a
        score depends on what stands beside it in the batch: by up to 0.05 where scores spread over 1.4.

        Raises:
            ModelError: the folder cannot be used, is no such model, or lacks weights of it (a
                missing head would be drawn at random, and its scores would mean nothing).
            ConfigError: a GPU is asked for and there is none.
        """
        folder = locate(str(path))
        described = describe(folder)
        named = " ".join(described.architectures or ())
        if "ForSequenceClassification" not in named:
            raise ModelError(
                f"{folder} is {named or described.model_type}, not a reward model; give the folder "
                "of a sequence classifier, or make a new one with RewardModel.from_base"
            )
        if described.num_labels != 1:
            raise ModelError(
                f"{folder} has {described.num_labels} labels; a reward model has one (num_labels 1)"
            )
        model, missing = _read(folder, described, device=device, dtype=dtype)
        if missing:
            raise ModelError(
                f"{folder} lacks {len(missing)} weights of a reward model ({missing[0]}); they "
                "would be drawn at random. Give a trained one, or make a new head with "
                "RewardModel.from_base"
            )
        return cls(model, _tokenizer(folder), think_tag=think_tag)

    @classmethod
    def from_base(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        dtype: str = "float32",
        seed: int = 0,
        think_tag: str = "think",
    ) -> "RewardModel":
        """A language model with a new head, to be trained before its scores mean anything.

        The head is drawn from N(0, 1/(D+1)) with `seed`, as in Stiennon et al. 2020 (appendix):
        scores begin near unit variance. The language model's own head is left out.

        Raises:
            ModelError: the folder cannot be used, has a head already, or lacks other weights.
        """
        folder = locate(str(path))
        described = describe(folder)
        named = " ".join(described.architectures or ())
        if "ForCausalLM" not in named:
            raise ModelError(
                f"{folder} is {named or described.model_type}, not a language model; "
                "RewardModel.load reads a reward model"
            )
        described.num_labels = 1
        model, missing = _read(folder, described, device=device, dtype=dtype)
        others = [name for name in missing if name != "score.weight"]
        if others:
            raise ModelError(f"{folder} lacks {len(others)} weights ({others[0]}); fetch it again")
        head = model.score.weight
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(head.shape, generator=generator) / math.sqrt(head.shape[1] + 1)
        with torch.no_grad():
            head.copy_(drawn)
        return cls(model, _tokenizer(folder), think_tag=think_tag)

    def score(
        self, conversations: Sequence[tuple[str, str]], *, part: Part = "summary"
    ) -> list[float | None]:
        """One float32 score for each (question, response), in order; unbounded.

        `response` is what the model wrote, after any prefill. Of part "summary" only the text after
        the last `</think>` is read. None where there is no score; `why_not` says why.

        Raises:
            ModelError: a score is not finite (damaged weights).
        """
        ids = [self.tokens_of(question, response, part) for question, response in conversations]
        scores: list[float | None] = [None] * len(ids)
        readable = [(len(tokens), place) for place, tokens in enumerate(ids) if tokens is not None]
        for places in _batches(readable):
            with torch.inference_mode():
                values = self.values([ids[place] or [] for place in places]).tolist()
            for place, value in zip(places, values, strict=True):
                if not math.isfinite(value):
                    raise ModelError("the reward model gives a score that is not finite: damaged?")
                scores[place] = value
        return scores

    def why_not(self, question: str, response: str, *, part: Part = "summary") -> str:
        """Why `score` gives None: no_summary (the model's doing) or too_long (ours); "" if it does
        not."""
        text = self.part_of(response, part)
        if text is None:
            return "no_summary"
        return "" if self.tokens_of(question, response, part) is not None else "too_long"

    def values(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """[B] float32 scores of tokenised conversations, with gradient where that is on.

        Padded on the right to the longest; causal attention keeps padding from what is scored, so
        no padding token is needed.
        """
        lengths = [len(tokens) for tokens in token_ids]
        device = self.model.score.weight.device
        ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
        for row, tokens in enumerate(token_ids):
            ids[row, : lengths[row]] = torch.tensor(tokens)
        count = torch.tensor(lengths)
        mask = (torch.arange(ids.shape[1]) < count[:, None]).long()
        backbone = getattr(self.model, self.model.base_model_prefix)
        hidden = backbone(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
        ).last_hidden_state  # [B, T, D]
        last = hidden[torch.arange(len(lengths), device=device), count.to(device) - 1]
        return nn.functional.linear(
            last.float(), self.model.score.weight.float(), _float(self.model.score.bias)
        )[:, 0]

    def save(self, folder: str | Path) -> None:
        """Write an ordinary model folder that `load` and transformers read."""
        self.model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)

    def part_of(self, response: str, part: Part) -> str | None:
        """What of a response is read; None if it has no such part."""
        if part == "whole":
            return response.strip() or None
        return split(response, self.think_tag, "").rest.strip() or None  # "" while thinking is open

    def tokens_of(self, question: str, response: str, part: Part) -> list[int] | None:
        """A conversation as it is scored; None without the part, or with more than `max_tokens`."""
        text = self.part_of(response, part)
        if text is None:
            return None
        tokens = self.conversation.answered(question, text)
        return tokens if self.max_tokens is None or len(tokens) <= self.max_tokens else None


def _batches(lengths: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Places of (length, place), longest first, each batch within BATCH_TOKENS with its padding."""
    batches: list[list[int]] = []
    longest = 0
    for length, place in sorted(lengths, reverse=True):
        if batches and longest * (len(batches[-1]) + 1) <= BATCH_TOKENS:
            batches[-1].append(place)
        else:
            batches.append([place])
            longest = length
    return batches


def _read(folder: Path, described: Any, *, device: str, dtype: str) -> tuple[Any, list[str]]:
    """The classifier in a folder, and the names of weights that were not there."""
    from transformers import AutoModelForSequenceClassification

    chosen = resolve_dtype(dtype, described, device)
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=described,
            dtype=DTYPES[chosen],
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises classes of several libraries
        why = (str(error).strip().splitlines() or [""])[0][:300]
        raise ModelError(f"no reward model can be made of {folder}: {why}") from error
    mismatched = [entry[0] for entry in info["mismatched_keys"]]
    with torch.no_grad():  # mapped tensors may be unaligned, which changes the rounding of products
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
    return model.to(resolve_device(device)), sorted({*info["missing_keys"], *mismatched})


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        why = (str(error).strip().splitlines() or [""])[0][:300]
        raise ModelError(f"the tokenizer of {folder} cannot be read: {why}") from error


def _float(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float()
