"""Build the impostor cohort that ships for an encoder, from the negative rows of a manifest.

    python tools/build_cohort.py ../shared/speech/home-clean.tsv src/openkith/scoring/cohorts/ge2e.safetensors

Up to three stretches of four seconds of each speaker, as they are and in the conditions of openkith.audio.augment.
Embeddings only, in half precision; no audio.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from openkith.audio import Audio, load
from openkith.data import read_manifest
from openkith.encoders import load_encoder
from openkith.encoders.copies import embed_with_copies
from openkith.enrolment import embedding_set
from openkith.scoring import save_cohort

STRETCH_SECONDS = 4.0
MAX_STRETCHES = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default="ge2e")
    parser.add_argument("--source", default="LibriSpeech train-clean-100, CC BY 4.0")
    options = parser.parse_args()

    encoder = load_encoder(options.encoder)
    clips: list[Audio] = []
    speakers: list[str] = []
    for path, speaker in sorted(
        {(row.path, row.speaker) for row in read_manifest(options.manifest).negative}
    ):
        seconds = load(path).seconds
        for i in range(max(1, min(MAX_STRETCHES, int(seconds / STRETCH_SECONDS)))):
            end = min((i + 1) * STRETCH_SECONDS, seconds)
            clips.append(load(path, start=i * STRETCH_SECONDS, end=end))
            speakers.append(speaker)
    embedded = embed_with_copies(
        encoder, clips, progress=lambda done, total: print(f"{done}/{total}", end="\r")
    )
    labels = [sorted(set(speakers)).index(speaker) for speaker in speakers]
    cohort, _ = embedding_set([clip.arrays() for clip in embedded], labels)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_cohort(options.out, cohort, encoder.fingerprint, options.source)
    print(
        f"{options.out}: {cohort.n_speakers} speakers, {cohort.n_clips} stretches, {len(cohort)} embeddings"
    )


if __name__ == "__main__":
    main()
