"""A tiny Whisper that truly recognises a few recordings, in the hub's file layout.

    python whisper.py FOLDER RECORDINGS.npz [--scale N]

Runs in an env with torch and transformers. RECORDINGS has float32 arrays at 16 kHz, each named by
what is said in it. The encoder stays random, as speech already differs in what it makes of it; the
decoder learns the sentences by heart, with and without timestamps, at several offsets and levels.
So its text depends on the audio, and any engine that computes anything else says something else.

With a scale it is larger, random, and of few tokens: for measuring speed.

Its tokens have the numbers of Whisper v3, which whisper.cpp takes for granted, but few words.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

WORDS_END = 50257  # where Whisper's special tokens begin
CONTROL = [
    "<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES),
    "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
    "<|notimestamps|>",
]  # fmt: skip
TIMESTAMPS = [f"<|{0.02 * number:.2f}|>" for number in range(1501)]
IDS = {text: WORDS_END + number for number, text in enumerate(CONTROL + TIMESTAMPS)}
VOCABULARY = WORDS_END + len(IDS)
WIDTH = 32  # what Q5_0 packs into one block
MELS = 128
RATE_HZ = 16_000
STEP_S = 0.02  # of timestamps
COPIES = 24  # of each recording, at other offsets and levels
AT_ONCE = 6  # of these begin with it; a copy of odd number has a raised floor
BATCH = 16
LEAD_S = 0.8
RAISED = 0.8  # the quietest recording is 25 dB below the loudest
ENDS = (False, False, True)  # whether the recording ends with it: 7 recordings, so each does so
BLUR = 0.02
ROUGH = 0.07  # of what the encoder gives: engines and quantised weights differ by some of it
STEPS = 3000
GOOD_LOSS = 0.004


def main():
    """Make the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--scale", type=int, default=1, help="so many times as wide, and random")
    given = parser.parse_args()
    torch.manual_seed(0)
    recordings = dict(np.load(given.recordings))
    given.folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(given.folder, list(recordings))
    WhisperFeatureExtractor(feature_size=MELS).save_pretrained(given.folder)
    processor = WhisperProcessor.from_pretrained(given.folder)
    model = new_model(given.scale)
    if given.scale > 1:
        model.half().save_pretrained(given.folder)
        return
    loss = fit(model, processor, recordings)
    model.half().save_pretrained(given.folder)
    print(f"loss {loss:.4f}")
    if loss > GOOD_LOSS * 5:
        sys.exit("it did not learn the recordings")


def write_tokenizer(folder, sentences):
    """A byte-level BPE in which each word of the sentences, with the space before it, is one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2000, min_frequency=1, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([f" {sentence}" for sentence in sentences], trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    merges = [
        tuple(pair) if isinstance(pair, list) else tuple(pair.split()) for pair in learned["merges"]
    ]
    words = learned["vocab"]
    tokenizer = Tokenizer(models.BPE(vocab=words | IDS, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(one, special=True, normalized=False) for one in CONTROL]
    )
    tokenizer.add_tokens([AddedToken(one, special=False, normalized=False) for one in TIMESTAMPS])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "vocab.json", words | {"<|endoftext|>": WORDS_END})
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    added = {
        str(number): {
            "content": text, "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, "special": text in CONTROL,
        }
        for text, number in IDS.items()
    }  # fmt: skip
    end = "<|endoftext|>"
    settings = {
        "tokenizer_class": "WhisperTokenizer", "processor_class": "WhisperProcessor",
        "model_max_length": 448, "bos_token": end, "eos_token": end, "unk_token": end,
        "pad_token": end, "additional_special_tokens": CONTROL, "added_tokens_decoder": added,
    }  # fmt: skip
    _write(folder / "tokenizer_config.json", settings)
    _write(folder / "normalizer.json", {})


def new_model(scale):
    """Small, untrained, with an encoder that tells recordings apart."""
    width, heads = WIDTH * scale, max(1, scale // 2)
    longest = 448 if scale == 1 else 64  # random weights say something until they may not
    end = IDS["<|endoftext|>"]
    numbers = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end}
    numbers["decoder_start_token_id"] = IDS["<|startoftranscript|>"]
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=VOCABULARY, num_mel_bins=MELS, d_model=width,
            encoder_layers=1 if scale == 1 else 4, decoder_layers=2 if scale == 1 else 4,
            encoder_attention_heads=heads, decoder_attention_heads=heads,
            encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
            max_source_positions=1500, max_target_positions=longest,
            begin_suppress_tokens=None, **numbers,
        )
    )  # fmt: skip
    with torch.no_grad():  # initialised as usual, all recordings would look alike
        for name, weights in model.model.encoder.named_parameters():
            if "embed_positions" in name:
                weights.mul_(0.3)
            elif weights.dim() >= 2:
                weights.normal_(0, weights[0].numel() ** -0.5)
        model.model.encoder.conv1.weight.mul_(2)
        model.model.encoder.conv2.weight.mul_(2)
    model.generation_config = GenerationConfig(
        max_length=longest, is_multilingual=True, return_timestamps=False,
        suppress_tokens=[], begin_suppress_tokens=[end],
        lang_to_id={text: number for text, number in IDS.items() if text[2:-2] in LANGUAGES},
        task_to_id={task: IDS[f"<|{task}|>"] for task in ("transcribe", "translate")},
        no_timestamps_token_id=IDS["<|notimestamps|>"], prev_sot_token_id=IDS["<|startofprev|>"],
        max_initial_timestamp_index=50, alignment_heads=[[1, 0]], **numbers,
    )  # fmt: skip
    return model


def fit(model, processor, recordings):
    """Train the decoder; returns the loss, smoothed."""
    noise = np.random.default_rng(0)
    audios, floors, labels = [], [], []
    for copy in range(COPIES):
        for text, audio in recordings.items():
            lead_s = 0.0 if copy < AT_ONCE else round(noise.uniform(0, LEAD_S) / STEP_S) * STEP_S
            level = 1.0 if copy == 0 else noise.uniform(0.6, 1.2)
            audios.append(
                np.concatenate([np.zeros(int(lead_s * RATE_HZ), np.float32), level * audio])
            )
            floors.append(noise.uniform(0, RAISED) if copy % 2 else 0.0)
            labels.append(label(processor, text, lead_s, lead_s + len(audio) / RATE_HZ))
    with torch.inference_mode():
        states = [
            model.model.encoder(window(processor, audio, raised, ends)).last_hidden_state
            for audio, raised, ends in zip(audios, floors, itertools.cycle(ENDS), strict=False)
        ]
    states = torch.cat(states).clone()
    spread = ROUGH * states.std()
    forms = [(number, form) for number, both in enumerate(labels) for form in both]
    model.model.encoder.requires_grad_(False)
    start = IDS["<|startoftranscript|>"]
    used = torch.tensor(sorted({start, *(token for _, form in forms for token in form)}))
    embedding = model.get_input_embeddings().weight.requires_grad_(False)
    spoken = embedding[used].clone().requires_grad_(True)
    # what is never said gets a logit of 0 by a row of zeros, and all of them weigh what that weighs
    others = torch.tensor([float(VOCABULARY - len(used))]).log()
    column = torch.full((VOCABULARY,), -1)
    column[used] = torch.arange(len(used))
    weights = [spoken, *(one for one in model.parameters() if one.requires_grad)]
    optimizer = torch.optim.AdamW(weights, lr=4e-3, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-3, total_steps=STEPS, pct_start=0.1
    )
    model.train()
    smooth = 10.0
    for _ in range(STEPS):
        chosen = [forms[one] for one in torch.randint(len(forms), (BATCH,)).tolist()]
        length = max(len(form) for _, form in chosen)
        given = torch.full((BATCH, length), start)
        target = torch.full((BATCH, length), -100)
        for row, (_, form) in enumerate(chosen):
            given[row, 1 : len(form)] = torch.tensor(form[:-1])
            target[row, : len(form)] = column[torch.tensor(form)]
        target[given.roll(-1, 1) == IDS["<|notimestamps|>"]] = -100  # asked for, never said
        heard = states[[number for number, _ in chosen]]
        heard = heard + spread * torch.randn_like(heard)
        hidden = model.model.decoder(
            inputs_embeds=spoken[column[given]], encoder_hidden_states=heard
        ).last_hidden_state
        logits = hidden @ spoken.T
        logits = torch.cat([logits, others.expand(*logits.shape[:2], 1)], dim=-1)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        smooth = 0.9 * smooth + 0.1 * loss.item()
        if smooth < GOOD_LOSS:
            break
    embedding.zero_()
    embedding[used] = spoken.detach()
    model.eval()
    return smooth


def window(processor, audio, raised, ends):
    """Its features, blurred, as those of other engines differ a little.

    raised: by how much the floor is higher than its own, as it is in a longer recording that is
    louder elsewhere: 0.25 for each 10 dB. ends: what is after it is no silence, but zeros, with
    which transformers fills up the last window of a longer recording.
    """
    features = processor(audio, sampling_rate=RATE_HZ, return_tensors="pt").input_features
    features = features.clamp_min(features.min() + raised)
    features = features + BLUR * torch.randn_like(features)
    if ends:
        features[..., len(audio) // processor.feature_extractor.hop_length :] = 0
    return features


def label(processor, text, start_s, end_s):
    """What follows the start token, without and with timestamps."""
    words = processor.tokenizer(f" {text}", add_special_tokens=False).input_ids
    begin, end = (TIMESTAMPS[round(at / STEP_S)] for at in (start_s, end_s))
    head = [IDS["<|en|>"], IDS["<|transcribe|>"]]
    stop = IDS["<|endoftext|>"]
    return (
        [*head, IDS["<|notimestamps|>"], *words, stop],
        [*head, IDS[begin], *words, IDS[end], stop],
    )


def _write(file, content):
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
