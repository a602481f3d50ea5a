"""Small requests beside large ones, and what nobody waits for any more."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import ClientDisconnect

from service.api.scheduler import CHARACTERS, Scheduler


async def here() -> bool:
    return False


def run(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("large", [["plans drift"] * 4_000, ["plans drift " * 5_000] * 40])
def test_a_small_request_does_not_wait_for_all_of_a_large_one(threads: int, large: list[str]) -> None:
    begun: list[int] = []

    def counted(texts: Sequence[str]) -> list[int]:
        begun.append(len(texts))
        return run(texts)

    async def both() -> tuple[int, list[int]]:
        scheduler = Scheduler(threads)
        first = asyncio.create_task(scheduler.run(counted, large, here))
        await asyncio.sleep(0)
        assert await scheduler.run(run, ["small"], here) == [5]
        before = sum(begun)
        assert await first == [len(text) for text in large]
        scheduler.close()
        return before, begun

    before, slices = asyncio.run(both())
    assert before <= 6 * max(slices) < len(large)
    assert sum(slices) == len(large)


def test_slices_are_of_few_texts_and_few_characters() -> None:
    found: list[Sequence[str]] = []

    def kept(texts: Sequence[str]) -> list[int]:
        found.append(texts)
        return run(texts)

    async def all_() -> None:
        scheduler = Scheduler(1)
        await scheduler.run(kept, ["x" * n for n in (1, CHARACTERS, 2, 3, CHARACTERS * 3, *[5] * 40)], here)
        assert await scheduler.run(kept, [], here) == []
        scheduler.close()

    asyncio.run(all_())
    assert [len(part) for part in found] == [1, 1, 2, 1, 16, 16, 8]


def test_the_rest_of_a_request_whose_client_has_left_is_not_run() -> None:
    asked = 0

    async def gone() -> bool:
        return asked > 2

    def counted(texts: Sequence[str]) -> list[int]:
        nonlocal asked
        asked += 1
        return run(texts)

    async def left() -> None:
        scheduler = Scheduler(2)
        with pytest.raises(ClientDisconnect):
            await scheduler.run(counted, ["plans drift"] * 16 * 50, gone)
        assert await scheduler.run(run, ["next"], here) == [4]
        scheduler.close()

    asyncio.run(left())
    assert 3 <= asked <= 6


def test_an_error_of_the_model_is_the_request_s_own() -> None:
    def broken(_: Sequence[str]) -> list[int]:
        raise ZeroDivisionError

    async def fail() -> None:
        scheduler = Scheduler(2)
        with pytest.raises(ZeroDivisionError):
            await scheduler.run(broken, ["a"] * 100, here)
        assert await scheduler.run(run, ["next"], here) == [4]
        scheduler.close()

    asyncio.run(fail())
