"""Goes on with a run of `candour retrain`, and is killed with SIGKILL before the nth change that it makes on disk."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from service import retrain
from service.settings import Settings
from tests.models.killed import CHANGES


def main(name: str, step: int) -> None:
    left, settings = step, Settings()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    with retrain.locked(settings.store) as handle:
        sys.addaudithook(hook)
        retrain.drive(settings, retrain.read(settings.retrain_folder, name), handle, print)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
