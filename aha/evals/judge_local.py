"""A model on this machine as a judge (rewards/judge.py), through our own engine.

Many askings are decoded side by side; the same askings with the same weights give the same replies
(on one machine). Not covered: adapters on a shared base, and a judge in a process of its own: its
weights lie beside those of whoever asks.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from aha.errors import RunError
from aha.evals.ask import engine_of
from aha.files import sha256
from aha.rewards.judge_ask import Asked, Reply, Sampling
from aha.rollout.engine import SamplingParams


class LocalJudge:
    """A judge from anything that `models.locate` knows: a folder, a run, a fetched model.

    Raises:
        ModelError: the model cannot be used.
    """

    def __init__(self, path: str, *, max_tokens: int = 1024) -> None:
        """`max_tokens`: cap on a reply of `ask`; askings from a Judge bring their own."""
        from aha.models import conversation

        self.path = path
        self.max_tokens = max_tokens
        self._engine, loaded = engine_of(path)
        self._folder = loaded.folder
        self._conversation = conversation.of_tokenizer(loaded.tokenizer)
        config: Any = loaded.policy.causal.config.get_text_config()
        self._context: int | None = getattr(config, "max_position_embeddings", None)

    @cached_property
    def name(self) -> str:
        """The model and a digest of its weights, read when it is first asked for."""
        digest = hashlib.sha256()
        for file in sorted(self._folder.glob("*.safetensors")):
            digest.update(f"{file.name} {sha256(file)}\n".encode())
        return f"local {digest.hexdigest()[:16]}"

    def ask(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The likeliest reply to a conversation.

        Raises:
            RunError: the conversation and the reply do not fit the model's context.
        """
        sampling = Sampling(max_tokens=self.max_tokens)
        [reply] = self.ask_all([Asked(messages=tuple(messages), sampling=sampling)])
        if reply.status != "ok":
            raise RunError(f"{self.path} as judge: {reply.reason}")
        return reply.text

    def ask_all(self, asked: Sequence[Asked]) -> list[Reply]:
        """One reply for each asking, decoded side by side. What does not fit is an error reply."""
        start = time.perf_counter()
        replies: dict[int, Reply] = {}
        for place, one in enumerate(asked):
            ids = self._conversation.asking(one.messages)
            needs = len(ids) + one.sampling.max_tokens
            if self._context is not None and needs > self._context:
                why = (
                    f"too_long: {len(ids)} tokens asked, {one.sampling.max_tokens} for the reply, "
                    f"but the model has {self._context} positions"
                )
                replies[place] = Reply(status="error", reason=why)
                continue
            params = SamplingParams(
                max_tokens=one.sampling.max_tokens,
                temperature=one.sampling.temperature,
                stream=(one.sampling.seed or 0, "judge"),
            )
            self._engine.submit(f"{place}", ids, 1, params)
        while self._engine.pending():
            for rollout in self._engine.step():
                replies[int(rollout.prompt_id)] = Reply(
                    status="ok",
                    text=rollout.text,
                    cut=rollout.stopped == "length",
                    ms=(time.perf_counter() - start) * 1000,
                )
        return [replies[place] for place in range(len(asked))]
