"""Check an installed openkith: files, what importing it loads, and what it says about extras that are not there.

    python -I tools/check_installed.py src/openkith
    python -I tools/check_installed.py --hum FILE.wav ...

Run by tools/check_wheel.sh with the interpreter of a clean environment; the argument is the source tree that the
installed files are compared with. It imports nothing of that tree. The second form writes recordings to try it on.
"""

from __future__ import annotations

import sys
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path

LATE = {"torch", "matplotlib", "scipy", "sklearn", "sqlalchemy", "alembic", "numpy"}
EXTRAS = {"av": "media", "parselmouth": "synthesis"}


def check(what: str, passed: bool) -> None:
    print(f"{'ok' if passed else 'FAILED':8}{what}")
    if not passed:
        sys.exit(1)


def check_import() -> None:
    import openkith

    loaded = {name.partition(".")[0] for name in sys.modules}
    check("import openkith loads no heavy package and no extra", not loaded & (LATE | set(EXTRAS)))
    check("it is the installed one", Path(openkith.__file__ or "").is_relative_to(sys.prefix))
    check(f"version {openkith.__version__}", metadata.version("openkith") == openkith.__version__)


def check_files(source: Path) -> None:
    installed = Path(str(resources.files("openkith")))
    wanted = {
        p.relative_to(source) for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }
    missing = sorted(str(path) for path in wanted if not (installed / path).is_file())
    check(f"all {len(wanted)} files of the package, missing: {missing}", not missing)
    check("py.typed", (installed / "py.typed").is_file())
    tops = {path.parts[0] for path in metadata.files("openkith") or () if path.suffix == ".py"}
    check("nothing but the package", tops == {"openkith"})


def check_data(scratch: Path) -> None:
    import openkith
    from openkith.scoring.cohort import load_cohort

    for item in sorted(resources.files("openkith.scoring").joinpath("cohorts").iterdir(), key=str):
        cohort, encoder = load_cohort(str(item))
        check(f"cohort of {cohort.n_speakers} speakers for {encoder}", cohort.n_speakers > 0)
    with openkith.Gallery(scratch / "gallery.db") as gallery:
        check("a gallery is made by its migrations", gallery.people() == [])


def check_names() -> None:
    import openkith

    check("every public name", all(getattr(openkith, name).__name__ == name for name in openkith.__all__))


def check_extras() -> None:
    from openkith.audio import load
    from openkith.data.synthesis import SyntheticVoice, speak
    from openkith.errors import MissingDependencyError

    uses = {
        "media": lambda: load(b"\0\0\0\x18ftypM4A " + bytes(100)),
        "synthesis": lambda: speak(SyntheticVoice("nobody"), "Nobody says this."),
    }
    for package, extra in EXTRAS.items():
        check(f"the extra {extra} is not installed", find_spec(package) is None)
        try:
            uses[extra]()
        except MissingDependencyError as error:
            check(f"without it: {error}", f"openkith[{extra}]" in str(error))
        else:
            check(f"what needs {extra} says so", False)


def write_hum(path: str, seed: int) -> None:
    """Three seconds of a voice-like hum in syllables."""
    import numpy as np

    from openkith.audio import SAMPLE_RATE, save

    rng = np.random.default_rng(seed)
    t = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12))
    noise = 0.01 * rng.standard_normal(len(t))
    save(path, (0.1 * hum * np.sin(np.pi * 3 * t + seed) ** 2 + noise).astype(np.float32))


def main() -> None:
    if sys.argv[1] == "--hum":
        for seed, path in enumerate(sys.argv[2:]):
            write_hum(path, seed)
        return
    check_import()
    check_files(Path(sys.argv[1]))
    check_names()
    check_data(Path.cwd())
    check_extras()


if __name__ == "__main__":
    main()
