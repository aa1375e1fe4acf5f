"""Build the enhancer that ships, from the negative rows of a manifest.

    python tools/build_enhancer.py ../shared/speech/home-clean.tsv \\
        src/openkith/enhancement/shipped/ge2e --precision bfloat16
"""

from __future__ import annotations

import argparse
from pathlib import Path

from openkith.encoders import load_encoder
from openkith.enhancement.cohort_crops import negative_people
from openkith.enhancement.cohort_training import fit_enhancer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path, help="folder of the enhancer")
    parser.add_argument("--source", default="LibriSpeech train-clean-100, CC BY 4.0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="float32", help="of the encoder: bfloat16 is faster")
    options = parser.parse_args()
    enhancer = fit_enhancer(
        load_encoder("ge2e", precision=options.precision, threads=1),
        negative_people(options.manifest),
        seed=options.seed,
        source=options.source,
        progress=lambda what, done, total: print(f"{what}: {done}/{total}", flush=True),
    )
    enhancer.save(options.out, half=True)
    size = sum(path.stat().st_size for path in options.out.iterdir())
    print(f"{options.out}: {enhancer.fingerprint}, {size / 1e6:.2f} MB, {enhancer.info['voices']} voices")


if __name__ == "__main__":
    main()
