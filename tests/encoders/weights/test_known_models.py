"""The table of published models."""

from __future__ import annotations

import pytest

from openkith.encoders.base import ENCODERS
from openkith.encoders.weights.hubs import Remote
from openkith.encoders.weights.known_models import KNOWN, Known, find_known
from openkith.encoders.weights.published import PUBLISHED
from openkith.encoders.weights.sources import parse


@pytest.mark.parametrize("known", KNOWN.values(), ids=list(KNOWN))
def test_the_table_is_sound(known: Known) -> None:
    assert KNOWN[known.name] is known
    assert known.encoder in ENCODERS
    assert (known.eer is None) == (known.eer_source is None)
    assert known.eer is None or 0.1 < known.eer < 10  # percent
    assert known.name not in ENCODERS or known.encoder == known.name
    if known.weights is None:
        assert known.name in PUBLISHED
        assert known.licence == PUBLISHED[known.name].licence
    else:
        remote = parse(known.weights)
        assert isinstance(remote, Remote)
        assert remote.kind == "url" or known.files
        assert known.sha256 is None or len(known.sha256) == 64


def test_every_wheel_is_in_the_table() -> None:
    assert {name for name, known in KNOWN.items() if known.weights is None} == set(PUBLISHED)


def test_a_model_is_found_by_its_name_or_its_weights() -> None:
    ecapa = KNOWN["ecapa"]
    for text in ("ecapa", "Wespeaker/wespeaker-ecapa-tdnn512-LM", "hf:Wespeaker/wespeaker-ecapa-tdnn512-LM"):
        assert find_known(text) is ecapa
    assert find_known("Wespeaker/another") is None
