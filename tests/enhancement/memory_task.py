"""Trains on utterances of zeros, which take no room on the disk, and prints the peak of memory in MiB.

FOLDER STEPS ROWS...: once for each number of utterances. With 0 after it, their list is written and read, and their
targets are made, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from openkith.enhancement.data import Entries, batch_factory, collate
from openkith.enhancement.enhancer import NetSpec
from openkith.enhancement.learned import Learned, learn_from
from openkith.enhancement.list_forms import NormalList
from openkith.enhancement.lists import read_list
from openkith.enhancement.settings import EnhancementTraining
from openkith.enhancement.targets import make_targets
from openkith.enhancement.tree import ROWS_FILE, EmbeddingTree, MappedEmbeddings
from openkith.losses import build_enhancement_loss
from openkith.training import train

DIM = 512
OF_SPEAKER = 100


def run(folder: Path, steps: int, rows: int, whole: bool) -> None:
    packed = folder / "packed"
    packed.mkdir(parents=True)
    np.lib.format.open_memmap(packed / ROWS_FILE, mode="w+", dtype=np.float32, shape=(rows, DIM)).flush()
    names = tuple(f"id{number:05}" for number in range(rows // OF_SPEAKER))
    owners = np.repeat(np.arange(len(names)), OF_SPEAKER)
    files = [f"{name}/video{v:02}/{u:05}.npy" for name in names for v in range(10) for u in range(10)]
    tree = EmbeddingTree(folder, tuple(files) if whole else (), names, owners, (), owners)
    embeddings = MappedEmbeddings(packed)
    entries = NormalList(tree, names, owners, np.arange(rows))
    targets = np.zeros((len(names), DIM), np.float32)
    if whole:
        path = folder / "all_normal_list.txt"
        with path.open("w") as file:
            file.writelines(entries.lines())
        read = read_list(path, tree)
        assert isinstance(read, NormalList)
        entries, targets = read, make_targets(tree, "B", embeddings).embeddings
    model = Learned(
        NetSpec("residual", DIM, None, {"hidden": 16}).build(),
        build_enhancement_loss("mse", DIM, len(names)),
        None,
    )
    config = EnhancementTraining(batch_size=500, max_steps=steps, accelerator="cpu", epochs=1000)
    train(
        model,
        learn_from,
        Entries(entries, embeddings, targets),
        config,
        folder / "run",
        collate=collate,
        batches=batch_factory(entries, config, 1),
    )
    sys.stdout.write(f"{peak()}\n")


def peak() -> int:
    """MiB of this process; unlike ru_maxrss without what its parent held when it began."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


if __name__ == "__main__":
    folder, steps, *numbers = sys.argv[1:]
    for number in filter(int, numbers):
        run(Path(folder) / number, int(steps), int(number), numbers[-1] == "0")
