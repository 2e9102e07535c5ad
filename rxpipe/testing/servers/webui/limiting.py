"""SD.Next's limit of requests: per client and path, checked after the work, so that a refused drawing was drawn."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

from rxpipe.testing.servers.core.wire import Answer, json_answer

if TYPE_CHECKING:
    from rxpipe.testing.servers.webui.engine import Engine

_WINDOW_S = 60.0
_DRAWINGS = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")
_DRAWING_COSTS = 5.1  # the 59th in a minute is refused
_FREE = ("/internal/progress",)


class RequestLimit:
    """What each path was asked for in the last minute; the test's program is the only client."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[str, deque[float]] = defaultdict(deque)

    def checked(self, path: str, answer: Answer) -> Answer:
        """Return the answer to a request that was done, or a 429 in its place, without a word on when to come back."""
        limit = self._engine.options.get("server_rate_limit", 0)
        if "requests are limited" not in self._engine.flavour.traits or not limit or path in _FREE:
            return answer
        with self._engine.job_log.changed:
            now, seen = self._engine.job_log.clock.now(), self._seen[path]
            while seen and now - seen[0] >= _WINDOW_S:
                seen.popleft()
            seen.append(now)
            used = len(seen) * (_DRAWING_COSTS if path in _DRAWINGS else 1)
        if used <= limit:
            return answer
        detail = f"127.0.0.1:{path}: rate limit exceeded"
        return json_answer({"error": "HTTPException", "code": 429, "detail": detail, "body": "", "errors": ""}, 429)
