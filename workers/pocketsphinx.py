"""CMU PocketSphinx with the acoustic and language model that its package ships (US English)."""

import numpy as np
from pocketsphinx import Decoder


def load(checkpoint, device):
    if checkpoint is not None:
        raise ValueError("PocketSphinx takes no checkpoint: its model is inside its package")
    return Decoder(samprate=16000)


def describe(model):
    return {"device": "cpu", "precision": "int16"}


def transcribe(model, audio):
    # Cepstral means carry over from one utterance to the next: without this the text depends
    # on which snippets came before. The whole utterance at once gives batch normalisation.
    model.reinit_feat()
    model.start_utt()
    pcm16 = np.clip(np.rint(audio * 32768.0), -32768, 32767).astype("<i2")  # exact for 16-bit files
    model.process_raw(pcm16.tobytes(), no_search=False, full_utt=True)
    model.end_utt()
    hypothesis = model.hyp()
    return hypothesis.hypstr if hypothesis else ""
