"""Which enhancer embeddings go through before they are compared: chosen by name, and kept with the head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openkith.encoders import Encoder
from openkith.enhancement.enhancer import Enhancer, shipped_enhancer
from openkith.errors import ConfigError
from openkith.scoring.base import Arrays

__all__ = [
    "AUTO",
    "OFF",
    "SHIPPED",
    "ChosenEnhancer",
    "candidate_enhancers",
    "pack_enhancer",
    "unpack_enhancer",
]

OFF, AUTO, SHIPPED = "off", "auto", "shipped"

ChosenEnhancer = str | Path | Enhancer


def candidate_enhancers(chosen: ChosenEnhancer, encoder: Encoder) -> tuple[Enhancer | None, ...]:
    """What `openkith.openset.model.fit_open_set` is to try; None is no enhancer.

    Args:
        chosen: "off"; "shipped", the one that ships for the encoder; "auto", both, where one ships; the folder of a
            trained one; or an `Enhancer`.
        encoder: Of the embeddings.

    Raises:
        ConfigError: None ships for this encoder.
        InputError: The folder has none, or a damaged one.
        EncoderMismatchError: It was trained on another encoder's embeddings.
    """
    if chosen == OFF:
        return (None,)
    if chosen in (AUTO, SHIPPED):
        try:
            shipped = shipped_enhancer(encoder)
        except ConfigError:
            if chosen == SHIPPED:
                raise
            return (None,)
        return (shipped,) if chosen == SHIPPED else (None, shipped)
    if isinstance(chosen, Enhancer):
        enhancer = chosen
    else:
        from openkith.enhancement.runs import load_enhancer  # loads torch

        enhancer = load_enhancer(chosen)[0]
    enhancer.check_encoder(encoder)
    return (enhancer,)


def pack_enhancer(enhancer: Enhancer) -> tuple[dict[str, Any], Arrays]:
    """Configuration (JSON) and arrays of an enhancer, so that a head does not depend on where it was read from."""
    config, arrays = enhancer.state()
    return {"fingerprint": enhancer.fingerprint, **config}, arrays


def unpack_enhancer(config: dict[str, Any], arrays: Arrays) -> Enhancer:
    """The enhancer that `pack_enhancer` was given.

    Raises:
        ConfigError: Its arrays are not those it had.
        InputError: They do not belong together.
    """
    enhancer = Enhancer.restore(config, arrays)
    if enhancer.fingerprint != config["fingerprint"]:
        raise ConfigError("the head's enhancer is not the one that it was tuned with; tune again")
    return enhancer
