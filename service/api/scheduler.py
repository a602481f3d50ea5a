"""Runs the model for requests: off the event loop, on as many threads as it has cores, and fairly."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import ClientDisconnect

from models.network import BATCH

# Of a slice, as many as BATCH passages have; a longer text is a slice of its own.
CHARACTERS = 10_000
T = TypeVar("T")
Gone = Callable[[], Awaitable[bool]]


class Scheduler:
    """Cuts each request's texts into slices, and gives every request that waits its turn after each slice.

    So a small request waits for slices of a large one and not for all of it, and the rest of a request whose client has
    left, or whose time is over, is never run. `waiting`: slices that have no thread yet.
    """

    def __init__(self, threads: int = 0) -> None:
        self._lanes = threads or os.cpu_count() or 1
        self._executor = ThreadPoolExecutor(self._lanes, thread_name_prefix="model")
        self._slots = asyncio.Semaphore(self._lanes)
        self.waiting = 0

    async def run(
        self, task: Callable[[Sequence[str]], list[T]], texts: Sequence[str], gone: Gone, size: int = BATCH
    ) -> list[T]:
        """What `task` makes of texts, given it in slices of at most `size` texts and some CHARACTERS.

        Raises ClientDisconnect once `gone` says so.
        """
        slices = list(_sliced(texts, size))
        results: list[list[T]] = [[] for _ in slices]
        ahead = iter(enumerate(slices))

        async def lane() -> None:
            for position, part in ahead:
                self.waiting += 1
                try:
                    await self._slots.acquire()
                finally:
                    self.waiting -= 1
                try:
                    if position and await gone():
                        raise ClientDisconnect
                    results[position] = await asyncio.get_running_loop().run_in_executor(self._executor, task, part)
                finally:
                    self._slots.release()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._lanes, len(slices))):
                    group.create_task(lane())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [result for part in results for result in part]

    def close(self) -> None:
        """Wait for the slices that run."""
        self._executor.shutdown()


def _sliced(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    first, characters = 0, 0
    for position, text in enumerate(texts):
        if position > first and (position - first == size or characters + len(text) > CHARACTERS):
            yield texts[first:position]
            first, characters = position, 0
        characters += len(text)
    if texts:
        yield texts[first:]
