"""whisper.cpp as pywhispercpp's README uses it.

But without higher temperatures: with random weights they would be tried by chance.
"""

from pywhispercpp.model import Model


def load(checkpoint):
    return Model(checkpoint, temperature_inc=0.0, print_progress=False)


def transcribe(model, audio):
    return " ".join(segment.text for segment in model.transcribe(audio, language="en"))
