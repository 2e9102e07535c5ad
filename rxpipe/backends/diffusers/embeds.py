"""Prompts as embeddings: of any length, with A1111's weights, BREAK and clip skip.

A text is cut into chunks of 75 tokens, each encoded by itself and put behind the one before. One chunk without weights
gives the embedding of diffusers' own pipelines to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rxpipe.backends.diffusers.inversions import put_in
from rxpipe.backends.prompts import weighed_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rxpipe.backends.diffusers.inversions import Words

_CHUNK = 75
_BACKTRACK = 20
"""So many tokens back a chunk is cut at a comma where there is one."""
_SDXL_LAYER = 2
_NO_MEAN = 1e-3


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the model is given of a prompt. embeds: 1 x tokens x width. pooled: 1 x width, of SDXL only."""

    embeds: Any
    pooled: Any = None


@dataclass(frozen=True, slots=True)
class _Token:
    """One place of a text. vector: in place of the token's own. follows: of the same embedding as the one before."""

    id: int
    weight: float = 1.0
    vector: Any = None
    follows: bool = False


@dataclass(frozen=True, slots=True)
class _Encoder:
    """One of a model's text encoders. letter: "l" for CLIP's first, "g" for SDXL's second."""

    letter: str
    tokenizer: Any
    model: Any


def encode_pair(
    pipe: Any, prompt: Sequence[str], negative: Sequence[str], clip_skip: int | None, words: Words
) -> tuple[Any, Any]:
    """Return the conditionings of a prompt and a negative prompt, of the same length; on the model's thread.

    Args:
        pipe: a pipeline of the SD or SDXL family.
        prompt: texts between BREAKs, with A1111's weights.
        negative: the same.
        clip_skip: 1 or more, counted from the last layer; None: the model's own.
        words: looks up embeddings by their names.
    """
    encoders = [
        _Encoder(letter, tokenizer, model)
        for letter, tokenizer, model in (
            ("l", getattr(pipe, "tokenizer", None), getattr(pipe, "text_encoder", None)),
            ("g", getattr(pipe, "tokenizer_2", None), getattr(pipe, "text_encoder_2", None)),
        )
        if tokenizer is not None and model is not None
    ]
    sdxl = hasattr(pipe, "text_encoder_2")
    chunked = [[_chunks(encoder, encoders, texts, words) for texts in (prompt, negative)] for encoder in encoders]
    length = max(len(chunks) for pair in chunked for chunks in pair)
    found = []
    for side, texts in enumerate((prompt, negative)):
        parts = [
            _encoded(encoder, chunked[number][side], length, clip_skip, sdxl=sdxl)
            for number, encoder in enumerate(encoders)
        ]
        conditioning = _joined([embeds for embeds, _ in parts], parts[-1][1])
        empty = side == 1 and not any(text.strip() for text in texts)
        if empty and sdxl and pipe.config.get("force_zeros_for_empty_prompt"):
            conditioning = Conditioning(conditioning.embeds * 0, conditioning.pooled * 0)
        found.append(conditioning)
    return found[0], found[1]


def _joined(parts: Sequence[Any], pooled: Any) -> Conditioning:
    import torch  # noqa: PLC0415  # on the model's thread only

    return Conditioning(torch.cat(list(parts), dim=-1) if len(parts) > 1 else parts[0], pooled)


def _chunks(
    encoder: _Encoder, encoders: Sequence[_Encoder], texts: Sequence[str], words: Words
) -> list[Sequence[_Token]]:
    comma = encoder.tokenizer.convert_tokens_to_ids(",</w>")
    every = [(one.letter, one.model) for one in encoders]
    chunks: list[Sequence[_Token]] = []
    for text in texts:
        tokens: list[_Token] = []
        for piece, weight in weighed_pieces(text):
            for part, vectors in words.pieces(piece, every, encoder.letter):
                if vectors is None:
                    ids = encoder.tokenizer(part, add_special_tokens=False, truncation=False, verbose=False).input_ids
                    tokens += [_Token(one, weight) for one in ids]
                else:
                    tokens += [_Token(0, weight, vector, follows=at > 0) for at, vector in enumerate(vectors)]
        chunks += _cut(tokens, comma)
    return chunks


def _cut(tokens: Sequence[_Token], comma: int) -> list[Sequence[_Token]]:
    chunks, begin = [], 0
    while True:
        end = begin + _CHUNK
        if end < len(tokens):
            near = [at for at in range(end - _BACKTRACK, end) if tokens[at].id == comma]
            end = near[-1] + 1 if near else _before_vectors(tokens, begin, end)
        chunks.append(tokens[begin:end])
        begin = end
        if begin >= len(tokens):
            return chunks


def _before_vectors(tokens: Sequence[_Token], begin: int, end: int) -> int:
    """The place at or before *end* that does not tear an embedding; *end* where one fills the chunk by itself."""
    at = end
    while at > begin and tokens[at].follows:
        at -= 1
    return at if at > begin else end


def _encoded(
    encoder: _Encoder, chunks: Sequence[Sequence[_Token]], length: int, clip_skip: int | None, *, sdxl: bool
) -> tuple[Any, Any]:
    """Return the embedding of chunks, filled up with empty ones to *length*, and the pooled one of the first."""
    import torch  # noqa: PLC0415  # on the model's thread only

    tokenizer = encoder.tokenizer
    parts, pooled = [], None
    for chunk in [*chunks, *([()] * (length - len(chunks)))]:
        padding = [tokenizer.pad_token_id] * (_CHUNK - len(chunk))
        ids = [tokenizer.bos_token_id, *(token.id for token in chunk), tokenizer.eos_token_id, *padding]
        given = torch.tensor([ids], device=getattr(encoder.model, "device", None))
        vectors = {at: token.vector for at, token in enumerate(chunk, 1) if token.vector is not None}
        with put_in(encoder.model, vectors):
            out = encoder.model(given, output_hidden_states=True)
        embeds = _layer(encoder.model, out, clip_skip, sdxl=sdxl)
        if any(token.weight != 1 for token in chunk):
            embeds = _weighed(embeds, [token.weight for token in chunk])
        parts.append(embeds)
        pooled = out[0] if pooled is None and sdxl else pooled
    return (torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]), pooled


def _layer(encoder: Any, out: Any, clip_skip: int | None, *, sdxl: bool) -> Any:
    """The layer that the model is conditioned on: SDXL takes the last but one, or one before it, never the last."""
    if sdxl:
        return out.hidden_states[-min(max(clip_skip or _SDXL_LAYER, _SDXL_LAYER), len(out.hidden_states))]
    if clip_skip is None or clip_skip == 1:
        return out[0]
    norm = getattr(encoder, "final_layer_norm", None) or encoder.text_model.final_layer_norm
    return norm(out.hidden_states[-min(clip_skip, len(out.hidden_states))])


def _weighed(embeds: Any, weights: Sequence[float]) -> Any:
    """Each token times its weight; the mean of all stays what it was, as A1111 has it."""
    import torch  # noqa: PLC0415  # on the model's thread only

    every = [1.0, *weights, *([1.0] * (_CHUNK + 1 - len(weights)))]
    factor = torch.tensor(every, dtype=embeds.dtype, device=embeds.device)[None, :, None]
    louder = embeds * factor
    mean = louder.mean()
    if mean.abs() < _NO_MEAN * louder.std():  # there is none to keep, and what is divided by it would be infinite
        return louder
    return louder * (embeds.mean() / mean)
