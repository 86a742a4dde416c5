"""Travels with the tiny checkpoint: a Phi-3 that hears, under the names of Microsoft's file.

A LoRA called speech is part of the weights, and the kind of input switches it on.
"""

from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import Phi3ForCausalLM

from .configuration_phi4mm import Phi4MMConfig

SPEECH = 2  # of input_mode
ADAPTED = r".*layers\.\d+\.(self_attn\.(qkv|o)_proj|mlp\.(gate_up|down)_proj)"


class Phi4MMForCausalLM(Phi3ForCausalLM):
    config_class = Phi4MMConfig

    def __init__(self, config):
        super().__init__(config)
        self.audio_projection = nn.Linear(config.frame, config.hidden_size)
        rank = config.speech_rank
        lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=ADAPTED)
        get_peft_model(self.model, lora, adapter_name="speech")

    def forward(
        self, input_ids=None, past_key_values=None, inputs_embeds=None, input_image_embeds=None,
        image_sizes=None, image_attention_mask=None, input_audio_embeds=None,
        audio_embed_sizes=None, audio_attention_mask=None, input_mode=None,
        num_logits_to_keep=0, **more,
    ):  # fmt: skip
        self.switch_speech(int(input_mode[0]) == SPEECH)
        if inputs_embeds is None:
            inputs_embeds = self.model.embed_tokens(input_ids)
            if input_ids.shape[1] > 1:  # a prompt, and not the answer's next token
                places = input_ids == self.config.audio_token_id
                heard = self.audio_projection(input_audio_embeds)[0, : int(audio_embed_sizes[0])]
                inputs_embeds[places] = heard.to(inputs_embeds.dtype)
        return super().forward(
            inputs_embeds=inputs_embeds, past_key_values=past_key_values,
            num_logits_to_keep=num_logits_to_keep, **more,
        )  # fmt: skip

    def switch_speech(self, on):
        for layer in self.modules():
            if isinstance(layer, LoraLayer):
                layer.enable_adapters(on)
