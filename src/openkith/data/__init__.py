"""Clips and who speaks in them: manifests, corpora, synthetic households."""

from openkith.data.corpus import Utterance, read_corpus, split_corpus
from openkith.data.manifest import ROLES, UNKNOWN, Manifest, Row, read_manifest, write_manifest

__all__ = [
    "ROLES",
    "UNKNOWN",
    "Manifest",
    "Row",
    "Utterance",
    "read_corpus",
    "read_manifest",
    "split_corpus",
    "write_manifest",
]
