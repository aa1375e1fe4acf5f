"""Build the impostor cohort that ships for an encoder, from the negative rows of a manifest.

    python tools/build_cohort.py ../shared/speech/home-clean.tsv src/openkith/scoring/cohorts/ge2e.safetensors

The same as ``kith cohort build``, with the origin that the shipped one has.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from openkith.cohort_building import write_cohort
from openkith.encoders import load_encoder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default="ge2e")
    parser.add_argument("--origin", default="LibriSpeech train-clean-100, CC BY 4.0")
    options = parser.parse_args()
    written = write_cohort(
        options.manifest,
        load_encoder(options.encoder),
        options.out,
        origin=options.origin,
        progress=lambda what, done, total: print(f"{what}: {done}/{total}", end="\r"),
    )
    print(
        f"{written.path}: {written.speakers} speakers, {written.stretches} stretches, {written.embeddings} embeddings"
    )


if __name__ == "__main__":
    main()
