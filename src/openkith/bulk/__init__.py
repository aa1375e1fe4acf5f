"""Many at once: people enrolled from a corpus, corpora embedded, trials scored.

The modules::

    enrolment     everybody in a corpus, enrolled
    listing       what there is to embed: folders, manifests, Kaldi lists
    embedding     a corpus embedded into a folder, resumable
    workers       the processes that do it, group by group (groups)
    store         that folder: shards, index, errors, journal; what is in no shard yet (parts)
    formats       its files: safetensors, a tree of .npy, Kaldi archives (kaldi)
    reading       embeddings read back
    enhancing     a folder of embeddings enhanced into another
    scoring       trials scored with them: cosine, AS-norm, PLDA (plda)
    trial_scores  trial lists, score files, metrics over them
    tables        tab-separated tables
"""

from openkith.bulk.embedding import EmbedOptions, EmbedSummary, EncoderSpec, embed_corpus
from openkith.bulk.enhancing import EnhanceSummary, enhance_embeddings
from openkith.bulk.enrolment import BulkEnrolment, enroll_all
from openkith.bulk.reading import Embeddings, read_embeddings
from openkith.bulk.scoring import ScoreOptions, score_trials
from openkith.bulk.trial_scores import ScoreMetrics, TrialScores, measure_scores, read_scores

__all__ = [
    "BulkEnrolment",
    "EmbedOptions",
    "EmbedSummary",
    "Embeddings",
    "EncoderSpec",
    "EnhanceSummary",
    "ScoreMetrics",
    "ScoreOptions",
    "TrialScores",
    "embed_corpus",
    "enhance_embeddings",
    "enroll_all",
    "measure_scores",
    "read_embeddings",
    "read_scores",
    "score_trials",
]
