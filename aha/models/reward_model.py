"""A reward model: a language model with one number per conversation in place of its head.

Holds:           loading, scoring and saving; a fresh head on a language model, to be trained.
Holds not:       the training of it (pairwise or point-wise), scaling or clipping of scores.
Must stay true:  a score is that of the last token of its conversation, whatever stands beside it; a
                 head that was not in the checkpoint gives no score.

Conversations lie packed in one stream, as in all other training here (models/attention.py), and what
neighbours begin with alike is computed once: the question of a pair, or of a group of answers. A model
that this seam does not know (sliding windows, soft-capping) runs its own forward on padded rows.

DeepSeek-R1 (Methods): helpfulness is scored on the final summary only, harmlessness on the entire
response, thinking included. The paper scales no score.
"""

# B = conversations, T = tokens of the stream (padded: of the longest), D = width
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aha.data.thinking import split
from aha.errors import ModelError
from aha.models import conversation, fused
from aha.models.attention import PackedLayout, Segment, register
from aha.models.load import DTYPES, describe, resolve_device, resolve_dtype
from aha.models.locate import locate

Part = Literal["summary", "whole"]
Rows = Sequence[Sequence[int]]
BATCH_TOKENS = 16_384
"""Tokens of one forward pass, padding included."""
LEAST_SHARED = 16
"""Tokens that rows must begin with alike to share them: below, the second call of attention costs more."""
SAME = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""How far packed rows may be from the model's own forward, as a share of the largest hidden number."""


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
        self._own_attention: str = model.config._attn_implementation
        self.packed = self._packs()
        """Rows lie in one stream without padding; else padded, by the model's own forward."""

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
        the last `</think>` is read. None where there is no score; `why_not` says why. Equal
        conversations have equal scores, to the last bit.

        Raises:
            ModelError: a score is not finite (damaged weights).
        """
        ids = [self.tokens_of(question, response, part) for question, response in conversations]
        rows = list(dict.fromkeys(tuple(tokens) for tokens in ids if tokens))
        found: dict[tuple[int, ...], float] = {}
        for places in self._batches(rows):
            batch = [rows[place] for place in places]
            with torch.inference_mode():
                values = self.values(batch).tolist()
            if not all(map(math.isfinite, values)):
                raise ModelError("the reward model gives a score that is not finite: damaged?")
            found |= zip(batch, values, strict=True)
        return [found[tuple(tokens)] if tokens else None for tokens in ids]

    def why_not(self, question: str, response: str, *, part: Part = "summary") -> str:
        """Why `score` gives None: no_summary (the model's doing) or too_long (ours); "" if it does
        not."""
        text = self.part_of(response, part)
        if text is None:
            return "no_summary"
        return "" if self.tokens_of(question, response, part) is not None else "too_long"

    def values(self, token_ids: Rows) -> Tensor:
        """[B] float32 scores of tokenised conversations, with gradient where that is on.

        Equal ones are computed once: their scores differ by nothing, not by what rounds elsewhere.

        Raises:
            ValueError: a conversation without a token.
        """
        if not all(token_ids):
            raise ValueError("a conversation without a token has no score")
        place = {row: i for i, row in enumerate(dict.fromkeys(map(tuple, token_ids)))}
        rows = list(place)
        last = self._last_of_stream(rows) if self.packed else self._last_of_padded(rows)
        scores = nn.functional.linear(
            last.float(), self.model.score.weight.float(), _float(self.model.score.bias)
        )[:, 0]
        back = [place[tuple(row)] for row in token_ids]
        return scores.index_select(0, torch.tensor(back, device=scores.device))

    def tokens_for(self, token_ids: Rows) -> int:
        """Tokens that a forward pass of these rows computes, padding included."""
        if not self.packed:
            return len(token_ids) * max(map(len, token_ids))
        return sum(_size(token_ids, *tree) for tree in shared(token_ids))

    def _last_of_stream(self, rows: Rows) -> Tensor:
        """[B, D] final hidden states of the rows' last tokens, from one packed stream."""
        device = self.model.score.weight.device
        tokens: list[int] = []
        positions: list[int] = []
        segments: list[Segment] = []
        last: list[int] = []
        for first, end, common in shared(rows):
            base = len(tokens)
            tokens += rows[first][:common]
            positions += range(common)
            segments.append(Segment(base, common))
            for row in rows[first:end]:
                start, own = len(tokens), len(row) - common
                if own:
                    tokens += row[common:]
                    positions += range(common, len(row))
                    segments.append(Segment(start, own, base, common))
                last.append(start + own - 1 if own else base + common - 1)
        hidden = self._backbone(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([positions], device=device),
            layout=PackedLayout(segments, device=device),
            use_cache=False,
        ).last_hidden_state[0]
        return hidden.index_select(0, torch.tensor(last, device=device))

    def _last_of_padded(self, rows: Rows) -> Tensor:
        """The same, rows padded on the right to the longest.

        Causal attention keeps padding from what is scored, so no padding token is needed.
        """
        lengths = [len(tokens) for tokens in rows]
        device = self.model.score.weight.device
        ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
        for row, tokens in enumerate(rows):
            ids[row, : lengths[row]] = torch.tensor(tokens)
        count = torch.tensor(lengths)
        mask = (torch.arange(ids.shape[1]) < count[:, None]).long()
        hidden = self._backbone(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
        ).last_hidden_state  # [B, T, D]
        return hidden[torch.arange(len(lengths), device=device), count.to(device) - 1]

    @property
    def _backbone(self) -> Any:
        return getattr(self.model, self.model.base_model_prefix)

    @torch.no_grad()
    def _packs(self) -> bool:
        """Whether packed rows give what the model's own forward gives; if so it is set to take them."""
        vocabulary = self.model.config.get_text_config().vocab_size
        # common tokens: the first ids are special ones, which have large numbers in many models
        ids = [(37 * i + 300) % vocabulary for i in range(40)]
        rows = [ids[:24], ids[:18] + ids[24:], ids[30:]]
        theirs = self._last_of_padded(rows).float()
        self.model.set_attn_implementation(register())
        bound = SAME.get(self.model.score.weight.dtype, SAME[torch.bfloat16])
        bound *= float(theirs.abs().max().clamp_min(1e-3))
        try:
            # not "above": damaged weights are no reason for another path, their scores tell
            other = bool(((self._last_of_stream(rows).float() - theirs).abs() > bound).any())
        except (AttributeError, TypeError, ValueError):
            other = True
        if other:
            self.model.set_attn_implementation(self._own_attention)
        else:
            fused.install(self.model)
        return not other

    def _batches(self, rows: Rows) -> list[list[int]]:
        """Places of the rows, each batch within BATCH_TOKENS.

        Packed: rows that begin alike are neighbours. Padded: rows of like length.
        """
        if not self.packed:
            return _batches([(len(row), place) for place, row in enumerate(rows)])
        batches: list[list[int]] = []
        size = 0
        for place in sorted(range(len(rows)), key=lambda i: tuple(rows[i])):
            row = rows[place]
            if not batches or size + len(row) > BATCH_TOKENS:
                batches.append([])
                size = 0
            batches[-1].append(place)
            size += len(row)
        return batches

    @contextmanager
    def _named_as_before(self) -> Iterator[None]:
        """Our attention function's name must not be written into a config.json."""
        self.model.set_attn_implementation(self._own_attention)
        try:
            yield
        finally:
            if self.packed:
                self.model.set_attn_implementation(register())

    def save(self, folder: str | Path) -> None:
        """Write an ordinary model folder that `load` and transformers read."""
        with self._named_as_before():
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


def shared(rows: Rows) -> list[tuple[int, int, int]]:
    """(first, end, common): neighbouring rows first..end that begin with the same `common` tokens.

    A row joins those before it where that leaves fewer tokens to compute, and LEAST_SHARED are common. A row
    by itself is (i, i + 1, its length).

    >>> shared([[1] * 20 + [2], [1] * 20 + [3, 4], [5] * 30])
    [(0, 2, 20), (2, 3, 30)]
    """
    found: list[tuple[int, int, int]] = []
    for place, row in enumerate(rows):
        if found:
            first, _, before = found[-1]
            common, members = _alike(rows[first], row, before), place - first
            if common >= LEAST_SHARED and members * common > (members - 1) * before:
                found[-1] = first, place + 1, common
                continue
        found.append((place, place + 1, len(row)))
    return found


def _alike(a: Sequence[int], b: Sequence[int], most: int) -> int:
    """How many tokens two rows begin with alike, `most` at most."""
    most = min(most, len(a), len(b))
    return next((i for i in range(most) if a[i] != b[i]), most)


def _size(rows: Rows, first: int, end: int, common: int) -> int:
    """Tokens of neighbouring rows that share `common` of them."""
    return sum(map(len, rows[first:end])) - (end - first - 1) * common


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
