"""Asking a judge: what is asked, what comes back, and who can be asked.

An asker takes many askings and gives one reply for each, in their order. It never raises for what
the world does: a refusal, a deadline or a broken connection is a reply with that status.

    judge_http.Endpoint   an OpenAI-compatible server
    Called                any function from messages to text

Holds not:       prompts and the reading of verdicts (judge_text), the cache (judge_cache).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Message = Mapping[str, str]
"""`role` (system, user, assistant) and `content`."""
Heard = Literal["ok", "refused", "timeout", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a judge's reply is drawn."""

    temperature: float = 0.0
    """0: the likeliest reply."""
    max_tokens: int = 2048
    """Cap on the reply; a reply that is cut there holds no verdict."""
    seed: int | None = 0
    """Passed on, with the number of the round added; None leaves it out."""

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.max_tokens < 1:
            raise ValueError(
                f"temperature={self.temperature}, max_tokens={self.max_tokens}: needs "
                "temperature >= 0, max_tokens >= 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One asking: a conversation that the judge continues."""

    messages: tuple[Message, ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back. Only status ok has a text that may hold a verdict."""

    status: Heard
    text: str = ""
    reason: str = ""
    """Of every other status, in plain words; never holds a key."""
    cut: bool = False
    """The reply ended at the token cap."""
    tries: int = 1
    ms: float = 0.0
    """Wall-clock milliseconds, waiting included."""


class Asker(Protocol):
    @property
    def name(self) -> str:
        """Which judge this is: part of the cache's key."""

    def ask_all(self, asked: Sequence[Asked]) -> list[Reply]:
        """One reply for each asking, in order."""


class Called:
    """Any function from messages to text as a judge, asked one by one in this thread.

    Its TimeoutError is a timeout, every other exception an error. It has to know the sampling
    itself: what `Sampling` says is not passed on, and a cut reply is not seen as one.
    """

    def __init__(self, ask: Callable[[list[dict[str, str]]], str], *, name: str) -> None:
        self._ask = ask
        self.name = name

    def ask_all(self, asked: Sequence[Asked]) -> list[Reply]:
        return [self._one([dict(message) for message in one.messages]) for one in asked]

    def _one(self, messages: list[dict[str, str]]) -> Reply:
        start = time.perf_counter()

        def since() -> float:
            return (time.perf_counter() - start) * 1000

        try:
            text = self._ask(messages)
        except TimeoutError as error:
            return Reply(status="timeout", reason=plain(f"{error}") or "no reply", ms=since())
        except Exception as error:  # a judge of the user's own may fail in any way
            why = plain(f"{type(error).__name__}: {error}")
            return Reply(status="error", reason=why, ms=since())
        if not isinstance(text, str):
            why = f"the judge gave {type(text).__name__}, not text"
            return Reply(status="error", reason=why, ms=since())
        return Reply(status="ok", text=text, ms=since())


def plain(text: str, limit: int = 200) -> str:
    """One short line of printable characters, for a reason."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text[: 4 * limit])
    line = " ".join(shown.split())
    return line if len(line) <= limit else line[:limit] + "…"
