"""What any encoder makes of a clip beyond one embedding of it, and of many or long clips.

The modules::

    views       the same clip, looked at in several ways
    copies      degraded copies of it, and its two halves
    crops       evenly spaced crops of one length
    streaming   files of any length and number, embedded as they are read
    clip_cache  embedded clips on disk
"""
