"""From embeddings of the people enrolled, and of others, to an honest answer.

model       fit_open_set: a back end chosen on held-out clips, and calibrated
decision    known, unsure or unknown, with a probability and a reason
talkers     recordings of more than one voice
findings    what tuning and calibrating found out
heads       a model as plain JSON and arrays, and back again
enhancers   what embeddings go through first
classifier  the same as a scikit-learn estimator
"""
