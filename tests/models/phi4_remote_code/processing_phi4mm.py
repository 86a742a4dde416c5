"""Travels with the tiny checkpoint: takes and gives what Microsoft's processor does for speech."""

import re
from typing import ClassVar

import torch
from transformers import AutoFeatureExtractor
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

PLACEHOLDER = re.compile(r"<\|audio_\d+\|>")
AUDIO_TOKEN = "<|endoftext11|>"
RATE_HZ = 16000
LANGUAGE, SPEECH = 0, 2


class Phi4MMAudioFeatureExtractor(SequenceFeatureExtractor):
    model_input_names: ClassVar = [
        "input_audio_embeds",
        "audio_embed_sizes",
        "audio_attention_mask",
    ]

    def __init__(self, frame=400, **more):
        more.setdefault("feature_size", frame)
        more.setdefault("sampling_rate", RATE_HZ)
        more.setdefault("padding_value", 0.0)
        self.frame = frame
        super().__init__(**more)

    def __call__(self, audios, return_tensors=None):
        ((samples, rate_hz),) = audios
        if rate_hz != RATE_HZ:
            raise ValueError(f"audio of {rate_hz} Hz")
        count = len(samples) // self.frame
        frames = torch.as_tensor(samples)[: count * self.frame].reshape(1, count, self.frame)
        return {"input_audio_embeds": frames, "audio_embed_sizes": torch.tensor([count])}


class Phi4MMProcessor(ProcessorMixin):
    attributes: ClassVar = ["audio_processor", "tokenizer"]
    audio_processor_class = "AutoFeatureExtractor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, audio_processor, tokenizer):
        self.audio_processor = audio_processor
        self.tokenizer = tokenizer

    def __call__(self, text, images=None, audios=None, return_tensors=None):
        token = self.tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)
        heard = self.audio_processor(audios) if audios else {}
        ids = []
        for one in self.tokenizer(PLACEHOLDER.sub(AUDIO_TOKEN, text)).input_ids:
            ids += [one] * (int(heard["audio_embed_sizes"][0]) if one == token else 1)
        input_ids = torch.tensor([ids])
        none = torch.tensor([])
        return BatchFeature(
            {
                "input_ids": input_ids,
                "input_image_embeds": none,
                "image_sizes": none,
                "image_attention_mask": none,
                "audio_attention_mask": None,
                "attention_mask": torch.ones_like(input_ids, dtype=torch.bool),
                "input_mode": torch.tensor([SPEECH if heard else LANGUAGE]),
                **heard,
            }
        )


AutoFeatureExtractor.register("Phi4MMAudioFeatureExtractor", Phi4MMAudioFeatureExtractor)
