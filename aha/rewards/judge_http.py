"""An OpenAI-compatible endpoint as a judge: POST {base_url}/chat/completions.

What holds: a deadline on connecting and one on the whole asking, retries and waiting included,
which a server that drips bytes cannot stretch; retries with growing pauses on 429, 408, 5xx and
broken connections, honouring Retry-After; a cap on the size of a reply; at most `parallel` requests
at a time. The key is read from a named environment variable when it is needed; it is in no field,
message, reason or file of ours, and goes only to an https address or to this machine.

Not covered: proxies, redirects (an error), streaming; name resolution has the system's deadline.
"""

import http.client
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from aha.errors import ConfigError
from aha.rewards.judge_ask import Asked, Reply, plain

MAX_BYTES = 4 << 20
"""Of a reply; beyond it the connection is dropped."""
LONGEST_PAUSE = 30.0
"""Seconds between two tries, unless the server asks for more."""
_AGAIN = (408, 429)
_HERE = ("localhost", "127.0.0.1", "::1")
_KEY = re.compile(r"[!-~]+")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A judge behind an address.

    Raises:
        ConfigError: an address, a number or a variable that cannot be.
    """

    base_url: str
    """Up to the version, e.g. http://127.0.0.1:8000/v1."""
    model: str
    key_env: str = ""
    """Name of the environment variable with the key; "" sends none."""
    connect_s: float = 10.0
    """Seconds to connect."""
    total_s: float = 300.0
    """Seconds for one asking, all its tries and pauses together."""
    tries: int = 5
    pause_s: float = 0.5
    """Seconds before the second try; doubles from try to try."""
    parallel: int = 8
    """Requests at a time."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request; None removes one: {"max_tokens": None,
    "max_completion_tokens": 2048}."""

    def __post_init__(self) -> None:
        url = _address(self.base_url)
        if not self.model:
            raise ConfigError("judge: no model is named; write the name that the endpoint lists")
        numbers = (self.connect_s, self.total_s, self.pause_s)
        if not all(0 < n < 1e6 for n in numbers) or self.tries < 1 or self.parallel < 1:
            raise ConfigError(
                f"judge: connect_s={self.connect_s}, total_s={self.total_s}, pause_s="
                f"{self.pause_s}, tries={self.tries}, parallel={self.parallel}: all must be above 0"
            )
        if self.key_env:
            if not _LABEL.fullmatch(self.key_env):  # perhaps the key itself: not repeated here
                raise ConfigError(
                    "judge: key_env is no name of an environment variable; write the name of the "
                    "variable that holds the key, not the key"
                )
            if url.scheme == "http" and url.hostname not in _HERE:
                raise ConfigError(
                    f"judge: {self.base_url} would carry the key of {self.key_env} unencrypted; "
                    "use https, a tunnel to this machine, or an endpoint without a key"
                )
            self._key()

    @property
    def name(self) -> str:
        more = json.dumps(dict(self.extra), sort_keys=True) if self.extra else ""
        return f"{self.base_url} {self.model} {more}".strip()

    def ask_all(self, asked: Sequence[Asked]) -> list[Reply]:
        if not asked:
            return []
        with ThreadPoolExecutor(min(self.parallel, len(asked)), "aha-judge") as pool:
            return list(pool.map(self._ask, asked))

    def _ask(self, asked: Asked) -> Reply:
        start = time.monotonic()
        deadline = start + self.total_s
        body = json.dumps(self._request(asked)).encode("ascii")
        for number in range(1, self.tries + 1):
            try:
                text, cut = self._try(body, deadline)
            except _Fault as fault:
                reason = fault.reason
                pause = max(fault.pause, min(self.pause_s * 2 ** (number - 1), LONGEST_PAUSE))
                late = time.monotonic() + pause >= deadline
                if fault.again and number < self.tries and not late:
                    time.sleep(pause)
                    continue
                if fault.again and late:
                    reason += f" (no time for another try within {self.total_s:g} s)"
                took = (time.monotonic() - start) * 1000
                return Reply(status=fault.status, reason=reason, tries=number, ms=took)
            took = (time.monotonic() - start) * 1000
            return Reply(status="ok", text=text, cut=cut, tries=number, ms=took)
        raise AssertionError("tries >= 1")

    def _request(self, asked: Asked) -> dict[str, Any]:
        sampling = asked.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in asked.messages],
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
        }
        return {
            name: value for name, value in (body | dict(self.extra)).items() if value is not None
        }

    def _key(self) -> str:
        """The key, "" if none is asked for."""
        if not self.key_env:
            return ""
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise ConfigError(f"judge: the variable {self.key_env} is not set; put the key into it")
        if not _KEY.fullmatch(key):
            raise ConfigError(f"judge: {self.key_env} holds blanks or signs that no key has")
        return key

    def _try(self, body: bytes, deadline: float) -> tuple[str, bool]:
        """One request: the reply's text, and whether it was cut."""
        try:
            key = self._key()
        except ConfigError as error:  # was there at the start
            raise _Fault("error", str(error)) from None
        try:
            code, headers, data = self._post(body, key, deadline)
            if code != 200:
                raise _of_code(code, headers, data)
            return _read(data, headers.get("Content-Type", ""))
        except _Fault as fault:
            if key:  # a server may send back what it was sent
                fault.reason = fault.reason.replace(key, "***")
            raise

    def _post(
        self, body: bytes, key: str, deadline: float
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body. Raises _Fault, within `deadline` (monotonic seconds)."""
        url = _address(self.base_url)
        late = f"no reply within {self.total_s:g} s"
        sock = self._connect(url, deadline)
        over = threading.Event()

        def end() -> None:
            over.set()
            with suppress(OSError):  # past ssl, whose own shutdown is not for another thread
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

        watch = threading.Timer(max(0.0, deadline - time.monotonic()), end)
        watch.daemon = True
        watch.start()
        try:
            sock.settimeout(max(0.001, deadline - time.monotonic()) + 1)
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            headers = {
                "Content-Type": "application/json",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Connection": "close",
            }
            if key:
                headers["Authorization"] = f"Bearer {key}"
            kind = http.client.HTTPSConnection if url.scheme == "https" else _Plain
            wire = kind(str(url.hostname), _port(url))
            wire.sock = sock
            wire.request("POST", f"{url.path.rstrip('/')}/chat/completions", body, headers)
            answer = wire.getresponse()
            data = _body(answer)
        except _Fault:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            if over.is_set() or isinstance(error, TimeoutError):
                raise _Fault("timeout", late) from None
            raise _Fault("error", _broken(error), again=True) from None
        finally:
            watch.cancel()
            sock.close()
        if over.is_set():
            raise _Fault("timeout", late)
        return answer.status, answer.headers, data

    def _connect(self, url: SplitResult, deadline: float) -> socket.socket:
        where = (str(url.hostname), _port(url))
        left = deadline - time.monotonic()
        if left <= 0:
            raise _Fault("timeout", f"no reply within {self.total_s:g} s")
        try:
            sock = socket.create_connection(where, timeout=min(self.connect_s, left))
        except TimeoutError:
            why = f"no connection to {where[0]}:{where[1]} within {self.connect_s:g} s"
            raise _Fault("timeout", why, again=True) from None
        except (OSError, UnicodeError) as error:  # the second: a host that no name can have
            said = getattr(error, "strerror", None) or error
            why = f"no connection to {where[0]}:{where[1]}: {said}"
            raise _Fault("error", plain(why), again=True) from None
        if url.scheme == "http":
            return sock
        try:
            context = ssl.create_default_context()
            return context.wrap_socket(
                sock, server_hostname=url.hostname, do_handshake_on_connect=False
            )
        except (OSError, ValueError) as error:
            sock.close()
            raise _Fault("error", plain(f"TLS with {where[0]} failed: {error}")) from None


_Plain = http.client.HTTPConnection


class _Fault(Exception):
    """A try that gave no reply."""

    def __init__(
        self,
        status: Literal["refused", "timeout", "error"],
        reason: str,
        *,
        again: bool = False,
        pause: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.again = again
        self.pause = pause


def _address(base_url: str) -> SplitResult:
    try:
        url = urlsplit(base_url)
        wrong = url.scheme not in ("http", "https") or not url.hostname
        inner = bool(url.username or url.password or url.query or url.fragment)
        _port(url)
    except ValueError:
        wrong, inner = True, False
    if wrong:
        raise ConfigError(
            "judge: base_url is no address; write it as http://HOST:PORT/v1 or https://HOST/v1"
        )
    if inner:  # not repeated: it may hold a password
        raise ConfigError(
            "judge: base_url holds a user, a query or a fragment; give the bare address, and the "
            "key by the name of its variable (key_env)"
        )
    return url


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _body(answer: http.client.HTTPResponse) -> bytes:
    """The whole body, up to the cap."""
    parts, size = [], 0
    while part := answer.read(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise _Fault("error", f"too_large: a reply of more than {MAX_BYTES} bytes")
    if answer.length:  # read() with a size is silent about a body that ends early
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(parts)


def _broken(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended within the reply"
    return plain(f"the connection broke: {type(error).__name__}: {error}")


def _of_code(code: int, headers: http.client.HTTPMessage, data: bytes) -> _Fault:
    """What a status other than 200 means."""
    said = plain(_error_text(data))
    reason = f"http_{code}: {said}" if said else f"http_{code}"
    if code in _AGAIN or code >= 500:
        return _Fault("error", reason, again=True, pause=_retry_after(headers.get("Retry-After")))
    if 300 <= code < 400:
        reason = f"http_{code}: redirects are not followed; give the address it leads to"
    return _Fault("error", reason)


def _error_text(data: bytes) -> str:
    text = data[:4096].decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, RecursionError):
        return text


def _retry_after(value: str | None) -> float:
    """Seconds that a server asks to wait: a number or a date; 0 for what cannot be read."""
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _read(data: bytes, kind: str) -> tuple[str, bool]:
    """Text of a chat completion, and whether it was cut."""
    try:
        value = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise _Fault("error", "malformed: the reply is not UTF-8") from None
    except (ValueError, RecursionError):
        why = f"malformed: the reply is not JSON (content type {plain(kind, 60) or 'unknown'})"
        raise _Fault("error", why) from None
    if isinstance(value, dict) and value.get("error"):
        raise _Fault("error", f"the endpoint says: {plain(_error_text(data))}")
    try:
        choice = value["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _Fault("error", "malformed: the reply has no choices[0].message") from None
    if refusal or finish == "content_filter":
        raise _Fault("refused", plain(str(refusal)) if refusal else "content_filter")
    if not isinstance(text, str):
        raise _Fault("error", "malformed: message.content is not text")
    return text, finish == "length"
