"""The weights of encoders: where they are published, how they are fetched and checked, how their files are read.

The modules::

    known_models  published models, as their publishers describe them
    published     weights that travel in a wheel, such as GE2E's
    sources       a local path, a hub's model or a URL, fetched and recorded
    hubs          what each hub is asked
    downloads     one file from a URL
    checkpoints   a file of tensors, read strictly
"""
