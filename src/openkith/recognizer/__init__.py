"""People in, decisions out.

recognizer       Recognizer: everything that a program needs
roster           who is enrolled, and the model that scores them
enrolment        from recordings to the sets that back ends learn from, and advice
strangers        recordings of other people
speaking_styles  clips as the person would say them otherwise
"""

from __future__ import annotations

from openkith.recognizer.recognizer import CalibrationReport, Recognizer, Source, TuneReport

__all__ = ["CalibrationReport", "Recognizer", "Source", "TuneReport"]
