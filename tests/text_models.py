"""CLIP's and SigLIP's text towers for tests: seeded ones that transformers makes and answers with, and tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = (
    "a red car",
    "A RED CAR",
    "cat",
    "x",
    "a photo of two small dogs, sitting beside a blue bicycle in the snow",
    "it's the dog's house; we've seen 'em, I'm sure they'll come, he'd know",
    "gate open!!! (now) [really] {yes} <no>",
    "  many    spaces \t tabs \n and lines \r\n in between   ",
    "12:34:56 on 2024-02-29, 3.14159, 1,000,000 km/h, -40 °C, 50 %",
    "C++ & C#, foo_bar-baz, a/b\\c, user@example.org, https://example.org/?q=1#top",
    "naïve café, cafe\u0301, Ångström, A\u030angström",
    "ÀÉÎÕÜ àéîõü ß ẞ ﬁ ﬀ Ǆ ǆ İ ı",
    "ein grüner Baum vor dem Haus in der Straße",
    "une forêt sous la neige, où l'on voit des oiseaux",
    "un niño con un perro pequeño y un coche rojo",
    "mała dziewczynka z czerwonym balonem nad rzeką",
    "küçük bir köpek ve kırmızı bir araba İSTANBUL",
    "một chiếc xe hơi màu đỏ trên đường phố",
    "красная машина на улице",
    "КРАСНАЯ МАШИНА ЗИМОЙ",
    "маленькі собаки біля синього велосипеда",
    "ένα κόκκινο αυτοκίνητο στον δρόμο",
    "ΟΔΥΣΣΕΥΣ ΚΑΙ ΣΟΦΟΣ",
    "سيارة حمراء في الشارع",
    "سگ کوچک کنار دوچرخه‌ی آبی",
    "מכונית אדומה ברחוב",
    "सड़क पर एक लाल कार",
    "রাস্তায় একটি লাল গাড়ি",
    "சாலையில் ஒரு சிவப்பு கார்",
    "รถสีแดงบนถนน",
    "街上的一辆红色汽车",
    "街上的一輛紅色汽車和兩隻小狗",
    "通りの赤い車と二匹の犬",
    "アカイクルマ ｱｶｲｸﾙﾏ 全角ＡＢＣ１２３",
    "거리의 빨간 자동차",
    "წითელი მანქანა ქუჩაში",
    "կարմիր մեքենա փողոցում",
    "ቀይ መኪና በመንገድ ላይ",
    "🚗🐕🐕❄️ 👩‍👩‍👧‍👦 🏳️‍🌈",
    "a\u00a0non-breaking\u2003em space\u200bzero width\ufeffmark",
    "quotes: “curly” ‘single’ «angle» „low“ – en — em … dots",
    "math: ∑ ∫ √2 ≈ 1.414 ≠ 1, ½ ⅔ x² H₂O",
    "control \x07 bell and \x7f delete",
    "repeated repeated repeated repeated repeated repeated repeated",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!?",
    "▁already▁marked▁ and <|endoftext|> inside",
    "<|startoftext|>at the start, <s> and <eos> and <pad> at the end<|endoftext|>",
    " ".join(["a street with many cars, trees and people"] * 20),
    "Очень длинное предложение. " * 30,
)
"""Fifty, of several lengths and alphabets."""

TINY_TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
TINY_VISION = TINY_TEXT | {"image_size": 32, "patch_size": 8}


def seeded(model: hf.PreTrainedModel, seed: int = 1) -> hf.PreTrainedModel:
    """Gives every parameter random values that count: none is left at the 0 or 1 that it starts with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "embedding" not in name and "probe" not in name:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            elif parameter.ndim == 0:
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                middle = 1 if "norm" in name and name.endswith("weight") else 0
                parameter.normal_(middle, 0.5 if parameter.ndim >= 2 else 0.1, generator=generator)
    return model.eval()


def byte_letters() -> list[str]:
    """The letters that byte-level BPE writes bytes with, in the order of CLIP's vocabulary."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + place) for place in range(len(others))]


def save_clip_tokenizer(folder: Path, *, whole: bool = True, pairs: int = 200) -> int:
    """Trains a small byte-level BPE on `SENTENCES`, and saves it as CLIP's; gives the size of the vocabulary.

    With `whole` as `tokenizer.json` and its configuration, else as `vocab.json` and `merges.txt` alone.
    """
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    letters = byte_letters()
    alphabet = [*letters, *(f"{letter}</w>" for letter in letters)]
    trainer = trainers.BpeTrainer(
        vocab_size=512 + pairs, end_of_word_suffix="</w>", initial_alphabet=letters, show_progress=False
    )
    trained.train_from_iterator(SENTENCES, trainer)
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    tokens = [*alphabet, *("".join(pair) for pair in merges), "<|startoftext|>", "<|endoftext|>"]
    tokens = list(dict.fromkeys(tokens))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    folder.mkdir(parents=True, exist_ok=True)
    if whole:
        made = hf.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
        made.save_pretrained(folder)
    else:
        (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(vocabulary)


def save_gemma_tokenizer(folder: Path, *, kind: str = "GemmaTokenizer", context: int = 64) -> int:
    """Makes a small vocabulary of Gemma's kind, with bytes to fall back on, and saves it; gives its size."""
    trained = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False, limit_alphabet=150)
    trained.train_from_iterator([sentence.lower() for sentence in SENTENCES[:20]], trainer)
    model = json.loads(trained.to_str())["model"]
    vocabulary = dict(model["vocab"])
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    made = getattr(hf, kind)(
        vocab=vocabulary,
        merges=[tuple(pair) for pair in model["merges"]],
        padding_side="right",
        model_max_length=context,
        model_input_names=["input_ids"],
    )
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", vocabulary["<eos>"])]
    )
    made.save_pretrained(folder)
    return len(vocabulary)


def clip_config(vocabulary: int, *, end: int | None = None, projection: int = 24, **text: Any) -> hf.CLIPConfig:
    """A tiny CLIP; `end` is the end's number in the configuration, by default the right one."""
    sizes = TINY_TEXT | {"vocab_size": vocabulary, "eos_token_id": vocabulary - 1 if end is None else end} | text
    sizes = {"projection_dim": projection, **sizes}
    sizes |= {"bos_token_id": vocabulary - 2, "pad_token_id": vocabulary - 1}
    return hf.CLIPConfig(text_config=sizes, vision_config=TINY_VISION, projection_dim=projection)


def save_tiny_clip(folder: Path, *, projection: int = 24) -> None:
    """Saves a tiny CLIP of both towers, with seeded weights and a tokenizer."""
    seeded(hf.CLIPModel(clip_config(save_clip_tokenizer(folder), projection=projection))).save_pretrained(folder)


def siglip_config(vocabulary: int, **text: Any) -> hf.SiglipConfig:
    """A tiny SigLIP."""
    sizes = TINY_TEXT | {"vocab_size": vocabulary, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0} | text
    return hf.SiglipConfig(text_config=sizes, vision_config=TINY_VISION)


def expected(folder: Path, model: hf.PreTrainedModel, texts: tuple[str, ...] = SENTENCES) -> tuple[Any, Any]:
    """What transformers gives for texts: tokens int64 (N, context) and embeddings float32 (N, E)."""
    has_config = (folder / "tokenizer_config.json").exists()
    kind = hf.AutoTokenizer if has_config else hf.CLIPTokenizer
    tokenizer = kind.from_pretrained(folder, local_files_only=True)
    config = getattr(model.config, "text_config", model.config)
    tokens = tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        max_length=config.max_position_embeddings,
        return_tensors="pt",
    )["input_ids"]
    with torch.inference_mode():
        if hasattr(model, "get_text_features"):
            answer = model.get_text_features(input_ids=tokens)
            answer = getattr(answer, "pooler_output", answer)
        else:
            answer = model(input_ids=tokens)
            answer = answer["text_embeds"] if "text_embeds" in answer else answer["pooler_output"]
    return tokens.numpy(), answer.numpy()
