"""Speaker encoders: audio in, embeddings out. See `load_encoder`.

The folders and modules::

    base          what an encoder is, and the registry
    catalog       what can be loaded by name, whether its weights are here, and fetching them
    networks      encoders that are torch networks
    graphs        encoders that are ONNX graphs, and export to them
    weights       where weights come from, and how they are read
    clips         views, copies and crops of clips, long files, and the cache of embedded clips
    front_ends    what a network or graph wants to see of a clip, by name
    voxceleb_mel  one of these, of the VoxCeleb trainer
    pieces        clips cut into pieces and windows, for networks and graphs alike
"""

from openkith.encoders.base import Encoder, encoder_names, load_encoder

__all__ = ["Encoder", "encoder_names", "load_encoder"]
