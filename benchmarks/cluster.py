"""The passages a second of a core, on one machine without Ray and with it, and what its processes hold.

    python benchmarks/cluster.py [FOLDER] [--rounds N]

FOLDER: documents; without one, 2,000 releases of ten written passages each, which are made for the purpose. In turn,
some times: `candour score`, and `candour score --ray local`, each into a new output. A row a run: the seconds of the
whole command and of the work alone (the first result of Ray comes when its processes have started), passages a second a
core by the one and by the other, the machine's load before it, and for each kind of process the most memory that one
of them held (of its own: what is shared with others is divided among them).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from labels import dataset, taxonomy

RELEASES, PASSAGES = 2_000, 10
# What tells a process by its command line.
KINDS = {
    "driver": "bin/candour score",
    "reader": "parsing._serve",
    "actor": "ray::MapWorker",
    "raylet": "raylet/raylet",
    "gcs": "gcs_server",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="candour-") as temporary:
        folder = options.folder or _releases(Path(temporary, "releases"))
        for turn in range(options.rounds):
            for name, with_ray in (("alone", []), ("ray", ["--ray", "local"])):
                output = Path(temporary, f"{name}-{turn}.parquet")
                _measure(name, [str(folder), "-o", str(output), *with_ray])


def _releases(folder: Path) -> Path:
    folder.mkdir()
    texts = [row.text for row in dataset.load([dataset.WRITTEN], taxonomy.load())]
    for number in range(RELEASES):
        first = number * PASSAGES % (len(texts) - PASSAGES)
        passages = [f"Paper {number}. {text}" for text in islice(texts, first, first + PASSAGES)]
        (folder / f"{number}.txt").write_text("\n\n".join(passages), encoding="utf-8")
    return folder


def _measure(name: str, arguments: list[str]) -> None:
    load, cores, started = os.getloadavg()[0], os.cpu_count() or 1, time.perf_counter()
    most: dict[str, float] = {}
    command = [Path(sys.executable).with_name("candour"), "score", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None:
            for kind, megabytes in _held():
                most[kind] = max(most.get(kind, 0.0), megabytes)
            time.sleep(1)
        said = run.stderr.read() if run.stderr else ""
    seconds = time.perf_counter() - started
    found = re.search(r"documents (\d+), passages (\d+).*model ([\d.]+), .*reading ([\d.]+)", said)
    if not found:
        sys.exit(said)
    documents, passages, model, waiting = map(float, found.groups())
    work = (model + waiting) / (cores if name == "ray" else 1)  # each actor's seconds are told, and one has one core
    memory = ", ".join(f"{kind} {most[kind]:.0f}" for kind in KINDS if kind in most)
    print(
        f"{name:5s} {documents:.0f} documents, {passages:.0f} passages, {seconds:.1f} s ({work:.1f} s of work), "
        f"a second a core {passages / seconds / cores:.1f} ({passages / work / cores:.1f}), load {load:.1f}; "
        f"MB: {memory}",
        flush=True,
    )


def _held() -> list[tuple[str, float]]:
    """Kind and megabytes of each process of candour or Ray on this machine."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            kind = next((kind for kind, part in KINDS.items() if part in command), None)
            if kind:
                held = re.search(r"^Pss:\s+(\d+)", (process / "smaps_rollup").read_text(), re.MULTILINE)
                found.append((kind, int(held[1]) / 1000 if held else 0.0))
        except (OSError, ProcessLookupError):  # it has ended
            continue
    return found


if __name__ == "__main__":
    main()
