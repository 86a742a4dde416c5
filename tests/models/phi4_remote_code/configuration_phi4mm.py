"""Travels with the tiny checkpoint, as Microsoft's file of this name does with the real one."""

from transformers import Phi3Config


class Phi4MMConfig(Phi3Config):
    model_type = "phi4mm"

    def __init__(self, audio_token_id=0, frame=400, speech_rank=4, **more):
        self.audio_token_id = audio_token_id
        self.frame = frame  # samples that become one token
        self.speech_rank = speech_rank
        super().__init__(**more)
