"""The scheduler: groups wait in a queue, answers live in slots, a freed slot is refilled at once.

A step is: start as many waiting answers as there are free slots (a prompt is computed once for its
whole group), decode one token for every live answer, hand over those that ended. What does not fit
the memory budget waits; only a single answer that cannot fit at all is an error.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha.errors import DoesNotFit, RunError
from aha.models.attention import Layout
from aha.models.policy import Policy, pack
from aha.records import Rollout, Stopped
from aha.rollout.engine import SamplingParams
from aha.rollout.local.cache import (
    MIN_ROWS,
    NATIVE,
    Cache,
    DecodeLayout,
    PrefillLayout,
    Shape,
    kept_dtype,
)
from aha.rollout.local.graphs import Graphs
from aha.rollout.local.random import answer_key, uniforms
from aha.rollout.local.sampling import draw
from aha.tally import TALLY

GRAPHS = False
"""Decode in rounded shapes as on a GPU, where it is always so; tests switch it on."""
PREFILL_TOKENS = 4096
"""Prompt tokens computed in one forward pass."""
PLACES = 3
"""Prefixes kept, in groups' worth of slots: a group's last answer must not keep slots empty."""


@dataclass(slots=True)
class _Group:
    prompt_id: str
    token_ids: tuple[int, ...]
    n: int
    params: SamplingParams
    attempt: int
    place: int = -1  # of its prefix in the cache
    started: int = 0
    ended: int = 0
    first_logits: Tensor | None = None  # [V], kept until all its answers have started


@dataclass(slots=True)
class _Answer:
    group: _Group
    sample: int
    key: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class LocalEngine:
    """Rollouts with the module that is being trained.

    Args:
        eos_ids: an answer ends with any of these.
        decode: token ids -> text.
        budget_bytes: for keys and values.
        max_rows: answers decoded side by side, at most.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        eos_ids: Sequence[int],
        decode: Callable[[Sequence[int]], str],
        budget_bytes: int,
        max_rows: int = 256,
    ) -> None:
        self.policy = policy
        self.eos = frozenset(eos_ids)
        self.decode = decode
        self.budget = budget_bytes
        self.max_rows = max_rows
        self.version = 0
        self._queue: deque[_Group] = deque()
        self._live: list[_Answer] = []  # index = slot
        self._places: list[_Group] = []  # index = prefix place
        self._cache: Cache | None = None
        self._shape: Shape | None = None
        self._decoder: Any = None  # decoder.Decoder of these weights; False: not for this model
        self._graphs: Graphs | None = None
        self._pieces: dict[int, str] = {}

    # -- the protocol ---------------------------------------------------------------------------

    def submit(
        self,
        prompt_id: str,
        token_ids: Sequence[int],
        n: int,
        params: SamplingParams,
        *,
        attempt: int = 0,
    ) -> None:
        if not token_ids or n < 1:
            raise ValueError(
                f"{prompt_id}: {len(token_ids)} prompt tokens, n={n}; both must be >= 1"
            )
        self._queue.append(_Group(prompt_id, tuple(token_ids), n, params, attempt))

    def pending(self) -> int:
        waiting = sum(group.n for group in self._queue)
        return waiting + sum(group.n - group.started for group in self._places) + len(self._live)

    @property
    def live(self) -> int:
        """Answers that are being decoded."""
        return len(self._live)

    @property
    def captures(self) -> int:
        """CUDA graphs recorded for the present cache."""
        return self._graphs.captures if self._graphs else 0

    @property
    def token_bytes(self) -> int:
        """Bytes of the keys and values of one token."""
        return self._token_shape().token_bytes

    def lengthen(self, tokens: int) -> None:
        """Let every live answer be so many tokens longer, whatever they are: to measure a step at any
        length without decoding up to it."""
        for answer in self._live:
            answer.token_ids += [answer.token_ids[-1]] * tokens
            answer.logprobs += [0.0] * tokens

    def load(self, version: int) -> None:
        if self.pending():
            raise RuntimeError(
                f"load({version}) with {self.pending()} answers unfinished: they would mix two policies"
            )
        self._places.clear()  # the prefixes belong to the old weights
        self._decoder = self._graphs = None
        self.version = version

    def rest(self) -> None:
        """Give back the memory that only sampling needs, until the next step."""
        if not self.pending():
            self._decoder = self._graphs = self._cache = None

    @torch.no_grad()
    def step(self) -> list[Rollout]:
        ended = self._start()
        if self._live:
            ended += self._decode()
        return ended

    @torch.no_grad()
    def score(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        *,
        temperature: float = 1.0,
    ) -> list[list[float]]:
        scores: list[list[float]] = []
        start = 0
        while start < len(prompts):
            end, size = start, 0
            while end < len(prompts) and (
                end == start or size + len(prompts[end]) + len(answers[end]) <= PREFILL_TOKENS
            ):
                size += len(prompts[end]) + len(answers[end])
                end += 1
            stream = pack(
                prompts[start:end], [[answer] for answer in answers[start:end]], device=self._device
            )
            values = self.policy(stream, temperature)[0].tolist()
            for answer in answers[start:end]:
                scores.append(values[: len(answer)])
                values = values[len(answer) :]
            start = end
        return scores

    # -- starting answers -------------------------------------------------------------------------

    def _start(self) -> list[Rollout]:
        """Give free slots to waiting answers; returns those that ended with their first token."""
        ended: list[Rollout] = []
        while self._places or self._queue:
            self._admit()
            starters: list[tuple[_Group, int]] = []
            free = self._slots() - len(self._live)
            for group in self._places:
                while group.started < group.n and len(starters) < free:
                    starters.append((group, group.started))
                    group.started += 1
            if not starters:
                break
            answers = [_Answer(g, i, self._key(g, i)) for g, i in starters]
            logits = torch.stack(
                [g.first_logits for g, _ in starters if g.first_logits is not None]
            )
            for group in {id(g): g for g, _ in starters}.values():
                if group.started == group.n:
                    group.first_logits = None
            tokens, logps = self._draw(answers, logits)
            for answer, token, logp in zip(answers, tokens, logps, strict=True):
                answer.token_ids.append(token)
                answer.logprobs.append(logp)
                stopped = self._stopped(answer)
                if stopped:
                    ended.append(self._finish(answer, stopped))
                else:
                    self._live.append(answer)
            self._drop_places()
        return ended

    def _admit(self) -> None:
        """Move groups from the queue to prefix places, and compute their prompts."""
        if not self._queue:
            return
        if not self._live and not self._places:
            self._allocate()
        cache = self._cache
        assert cache is not None
        new: list[_Group] = []
        size = 0
        waiting = sum(group.n - group.started for group in self._places)
        while self._queue and len(self._places) < cache.groups:
            group = self._queue[0]
            fits = (
                len(group.token_ids) <= cache.prompt_tokens
                and group.params.max_tokens <= cache.answer_tokens + 1
            )
            if not fits or len(self._live) + waiting >= cache.slots:
                break  # waits: until the running ones end, then the cache is laid out anew
            if new and size + len(group.token_ids) > PREFILL_TOKENS:
                break
            self._queue.popleft()
            group.place = len(self._places)
            self._places.append(group)
            new.append(group)
            size += len(group.token_ids)
            waiting += group.n
        if new:
            self._prefill(cache, new)

    def _prefill(self, cache: Cache, groups: list[_Group]) -> None:
        lengths = [len(group.token_ids) for group in groups]
        ids = torch.tensor([[t for g in groups for t in g.token_ids]], device=self._device)
        positions = torch.tensor([[p for n in lengths for p in range(n)]], device=self._device)
        layout = PrefillLayout(cache, lengths, [group.place for group in groups])
        hidden = self.policy.hidden(ids, positions, layout)
        last = torch.tensor(lengths, device=self._device).cumsum(0) - 1
        wanted = last.repeat(-(-MIN_ROWS // len(groups)))[: max(MIN_ROWS, len(groups))]
        logits = self.policy.logits(hidden.index_select(0, wanted)).float()
        for group, row in zip(groups, logits, strict=False):
            group.first_logits = row

    def _allocate(self) -> None:
        """Lay out the cache for what waits in the queue now (only while nothing is live).

        If the longest prompt and the longest answer of the queue do not fit side by side, the next
        group gets a layout of its own.
        """
        shape = self._token_shape()
        for waiting in (list(self._queue), [self._queue[0]]):
            answer = max(max(g.params.max_tokens for g in waiting) - 1, 1)  # the last is not read
            prompt = max(len(group.token_ids) for group in waiting)
            per_answer, per_prompt = answer * shape.token_bytes, prompt * shape.token_bytes
            scratch = MIN_ROWS * per_answer
            total = sum(group.n for group in waiting)
            share = min(1.0, PLACES * len(waiting) / total)  # prefix places for each slot
            room = self.budget - scratch - per_prompt
            slots = min(self.max_rows, total, int(room // (per_answer + share * per_prompt)))
            need = scratch + per_answer + per_prompt
            if need <= self.budget:
                break
        else:
            raise DoesNotFit(
                f"one answer of {answer + 1} tokens after a prompt of {prompt} needs "
                f"{need / 1e9:.3f} GB for keys and values, the budget is "
                f"{self.budget / 1e9:.3f} GB; lower max_answer_tokens or raise memory_gb"
            )
        slots = max(slots, 1)
        groups = 1 if slots == 1 else min(len(waiting), slots, int(share * slots) + 1)
        cache = self._cache
        enough = cache is not None and (
            cache.slots == slots
            and cache.answer_tokens == answer
            and cache.groups == groups
            and cache.prompt_tokens >= prompt
            and cache.prompt_tokens <= 2 * prompt
        )
        if not enough:
            self._cache = self._graphs = None  # free the old one first
            self._cache = Cache(
                shape, slots=slots, answer_tokens=answer, groups=groups, prompt_tokens=prompt
            )

    # -- one decoding step ------------------------------------------------------------------------

    def _decode(self) -> list[Rollout]:
        cache = self._cache
        assert cache is not None
        logits = self._logits(cache)
        tokens, logps = self._draw(self._live, logits)
        ended: list[Rollout] = []
        holes: list[int] = []
        for slot, answer in enumerate(self._live):
            answer.token_ids.append(tokens[slot])
            answer.logprobs.append(logps[slot])
            stopped = self._stopped(answer)
            if stopped:
                ended.append(self._finish(answer, stopped))
                holes.append(slot)
        for slot in reversed(holes):  # the last live answer moves into each hole
            answer = self._live.pop()
            if slot < len(self._live):
                cache.move_slot(len(self._live), slot, len(answer.token_ids) - 1)
                self._live[slot] = answer
        if holes:
            self._drop_places()
        return ended

    def _logits(self, cache: Cache) -> Tensor:
        """One forward pass over the last token of every live answer: [live, V]."""
        live = len(self._live)
        used = [len(answer.token_ids) - 1 for answer in self._live]
        place = [answer.group.place for answer in self._live]
        prefix = [len(group.token_ids) for group in self._places]
        last = [answer.token_ids[-1] for answer in self._live]
        if GRAPHS or cache.shape.device.type == "cuda":
            if self._graphs is None or self._graphs.cache is not cache:
                capture = cache.shape.device.type == "cuda"
                self._graphs = Graphs(self.policy, cache, capture=capture)
            return self._graphs.logits(last, used, place, prefix)[:live]
        spare = [0] * (MIN_ROWS - live)
        ids = torch.tensor(last + spare)
        positions = torch.tensor([prefix[p] + n for p, n in zip(place, used, strict=True)] + spare)
        used, place = used + spare, place + [-1] * len(spare)
        if not NATIVE:
            layout: Layout = DecodeLayout(cache, used, place, prefix)
        else:
            from aha.rollout.local import decoder
            from aha.rollout.local.native import NativeLayout

            layout = NativeLayout(cache, *map(np.array, (used, place, prefix)))
            if self._decoder is None:
                self._decoder = decoder.of(self.policy) or False
            if self._decoder:
                return self._decoder.logits(ids, positions, layout)[:live]
        hidden = self.policy.hidden(ids[None], positions[None], layout)
        return self.policy.logits(hidden)[:live]

    def _draw(self, answers: list[_Answer], logits: Tensor) -> tuple[list[int], list[float]]:
        """Sample for rows that may have different parameters."""
        keys = np.array([answer.key for answer in answers], dtype=np.uint64)
        counters = np.array([len(answer.token_ids) for answer in answers], dtype=np.uint64)
        uniform = torch.from_numpy(uniforms(keys, counters)).to(self._device)
        tokens, logps = [0] * len(answers), [0.0] * len(answers)
        kinds: dict[tuple[float, float, int], list[int]] = {}
        for row, answer in enumerate(answers):
            p = answer.group.params
            kinds.setdefault((p.temperature, p.top_p, p.top_k), []).append(row)
        for (temperature, top_p, top_k), rows in kinds.items():
            some = (
                slice(None)
                if len(rows) == len(answers)
                else torch.tensor(rows, device=self._device)
            )
            token, logp = draw(
                logits[some], uniform[some], temperature=temperature, top_p=top_p, top_k=top_k
            )
            if not bool(torch.isfinite(logp).all()):
                raise RunError(
                    f"the model gives logits that are not finite (policy version {self.version}): its "
                    "weights are damaged, or the last update was too large. Go back to an older "
                    "checkpoint, or use model.dtype='float32' or a lower zero.optim.lr"
                )
            for row, t, lp in zip(rows, token.tolist(), logp.tolist(), strict=True):
                tokens[row], logps[row] = t, lp
        TALLY.sampled += len(answers)
        return tokens, logps

    # -- ending answers -----------------------------------------------------------------------------

    def _stopped(self, answer: _Answer) -> Stopped | None:
        params = answer.group.params
        if params.forced:
            wanted = params.forced[answer.sample % len(params.forced)]
            return "length" if len(answer.token_ids) >= wanted else None
        if answer.token_ids[-1] in self.eos:
            return "eos"
        if params.stop and self._stop_string(answer.token_ids, params.stop):
            return "stop"
        return "length" if len(answer.token_ids) >= params.max_tokens else None

    def _stop_string(self, token_ids: list[int], stop: tuple[str, ...]) -> bool:
        """Does the text now contain a stop string? Decodes only when the new token could end one."""
        last = token_ids[-1]
        piece = self._pieces.get(last)
        if piece is None:
            piece = self._pieces[last] = self.decode([last])
        if "�" not in piece and not any(word[-1] in piece for word in stop):
            return False
        reach = max(len(word.encode()) for word in stop) + 8  # a token holds at least one byte
        tail = self.decode(token_ids[-reach:])
        return any(word in tail for word in stop)

    def _finish(self, answer: _Answer, stopped: Stopped) -> Rollout:
        group = answer.group
        group.ended += 1
        ids = answer.token_ids[:-1] if stopped == "eos" else answer.token_ids
        return Rollout(
            prompt_id=group.prompt_id,
            sample=answer.sample,
            token_ids=tuple(answer.token_ids),
            logprobs=tuple(answer.logprobs),
            text=self.decode(ids),
            policy_version=self.version,
            stopped=stopped,
            attempt=group.attempt,
        )

    def _drop_places(self) -> None:
        """Free the prefixes of finished groups; the last prefix moves into a hole."""
        cache = self._cache
        assert cache is not None
        for place in reversed(range(len(self._places))):
            if self._places[place].ended < self._places[place].n:
                continue
            moved = self._places.pop()
            if place < len(self._places):
                cache.move_prefix(len(self._places), place, len(moved.token_ids))
                self._places[place] = moved
                moved.place = place

    # -- small facts ----------------------------------------------------------------------------------

    @property
    def _device(self) -> torch.device:
        return next(self.policy.parameters()).device

    def _slots(self) -> int:
        return self._cache.slots if self._cache else 0

    def _key(self, group: _Group, sample: int) -> int:
        return answer_key(*group.params.stream, group.prompt_id, sample, group.attempt)

    def _token_shape(self) -> Shape:
        """Heads and widths of keys, seen by running one token through the model."""
        if self._shape is None:
            probe = _Probe()
            ids = torch.zeros((1, 1), dtype=torch.long, device=self._device)
            self.policy.hidden(ids, ids, probe)
            assert probe.key is not None
            self._shape = Shape(
                layers=probe.layers,
                heads=probe.key.shape[1],
                width=probe.key.shape[3],
                dtype=kept_dtype(probe.key.dtype, self._device),
                device=self._device,
            )
        return self._shape


class _Probe:
    """A layout that only looks: how many layers, which keys."""

    def __init__(self) -> None:
        self.layers = 0
        self.key: Tensor | None = None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        self.layers = max(self.layers, layer + 1)
        self.key = k
        return q.new_zeros(1, q.shape[2], q.shape[1], v.shape[-1])
