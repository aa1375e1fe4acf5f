"""Build the model of the multi-talker scorer that ships, from the negative rows of a manifest.

    python tools/build_multi_talker.py ../shared/speech/home-clean.tsv \\
        src/openkith/neural_scoring/multi-talker-ge2e.safetensors --precision bfloat16
"""

from __future__ import annotations

import argparse
from pathlib import Path

from openkith.encoders import load_encoder
from openkith.enhancement.cohort_crops import negative_people
from openkith.neural_scoring.multi_talker import MultiTalker


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", default="LibriSpeech train-clean-100, CC BY 4.0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="float32", help="of the encoder: bfloat16 is faster")
    options = parser.parse_args()
    people = negative_people(options.manifest)
    scorer = MultiTalker.fit(
        load_encoder("ge2e", precision=options.precision, threads=1),
        people,
        seed=options.seed,
        source=options.source,
        progress=lambda what, done, total: print(f"{what}: {done}/{total}", flush=True),
    )
    scorer.model.save(options.out)
    print(f"{options.out}: {len(people)} people, {len(scorer.model.centroids)} voices")
    print(f"{options.out.stat().st_size / 1e6:.2f} MB, lines {scorer.model.line}, {scorer.model.window_line}")


if __name__ == "__main__":
    main()
