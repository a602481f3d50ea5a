"""Does one thing to a model store, and is killed with SIGKILL before the nth change that it makes on disk."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from models.registry import Registry
from tests.models import variants

CHANGES = ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "fcntl.flock")


def main(root: Path, action: str, step: int) -> None:
    left = step

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    registry = Registry(root)
    sys.addaudithook(hook)
    match action:
        case "publish":
            variants.publish(root, "new")
        case "nominate":
            registry.nominate("spare")
        case "promote":
            registry.promote("next")
        case "rollback":
            registry.rollback()
        case "prune":
            registry.prune(registry.unnamed())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
