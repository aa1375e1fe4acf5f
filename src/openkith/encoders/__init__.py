"""Speaker encoders: audio in, embeddings out. See `load_encoder`."""

from openkith.encoders.base import Encoder, encoder_names, load_encoder

__all__ = ["Encoder", "encoder_names", "load_encoder"]
