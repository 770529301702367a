"""SigLIP's tokenizer, which transformers runs by the library sentencepiece, in the form of `tokenizers`.

The steps of SentencePiece's normaliser become steps of a `tokenizers` one, and its pieces a Unigram model. What
transformers does in front, in Python, is the artifact's `preparation`: `SiglipTokenizer.canonicalize_text`.
"""

from __future__ import annotations

from typing import Any

from vit_export.errors import CheckpointError


def fast_form(theirs: Any) -> str:
    """Gives `tokenizer.json` for a `SiglipTokenizer`.

    Raises:
        CheckpointError: it is no SentencePiece model of the kind that SigLIP's is.
    """
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    serialized = theirs.sp_model.serialized_model_proto()
    model = sentencepiece_model_pb2.ModelProto.FromString(serialized)  # type: ignore[attr-defined]  # made at run time
    trained, normal = model.trainer_spec, model.normalizer_spec
    if trained.model_type != trained.UNIGRAM or not normal.add_dummy_prefix or not normal.escape_whitespaces:
        raise CheckpointError("spiece.model", "is not of SigLIP's kind (Unigram with a prefix)", "fetch it again")
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=trained.unk_id, byte_fallback=trained.byte_fallback))
    steps: list[Any] = []
    if normal.precompiled_charsmap:
        steps.append(normalizers.Precompiled(normal.precompiled_charsmap))
    if normal.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    end = (theirs.eos_token, theirs.eos_token_id)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    return str(tokenizer.to_str())
