"""Lines to rows: in order, and not read ahead beyond a chunk."""

import json
from collections.abc import Iterator

from models.classifier import Classifier
from service import batch
from service.batch import CHUNK, Tally
from service.report import Failure


def test_lines_are_answered_in_order_and_not_read_ahead_beyond_a_chunk(champion: Classifier) -> None:
    taken = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        for n in range(CHUNK + 10):
            taken += 1
            yield b"broken" if n % 100 == 7 else json.dumps({"id": n, "text": f"Room {n} is closed."}).encode()

    tally = Tally()
    answers = batch.classify(source(), champion, tally, 1_000)
    first = next(answers)
    assert taken == CHUNK
    rows = [first, *answers]
    assert [row.line if isinstance(row, Failure) else row.id for row in rows] == [
        n + 1 if n % 100 == 7 else n for n in range(CHUNK + 10)
    ]
    assert tally.failed == 11 and tally.passages == CHUNK + 10 - 11
