"""Prompts as embeddings: of any length, with A1111's weights, BREAK and clip skip.

A text is cut into chunks of 75 tokens, each encoded by itself and put behind the one before. One chunk without weights
gives the embedding of diffusers' own pipelines to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rxpipe.backends.prompts import weighed_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

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
class _Chunk:
    ids: tuple[int, ...]
    weights: tuple[float, ...]


def encode_pair(pipe: Any, prompt: Sequence[str], negative: Sequence[str], clip_skip: int | None) -> tuple[Any, Any]:
    """Return the conditionings of a prompt and a negative prompt, of the same length; on the model's thread.

    Args:
        pipe: a pipeline of the SD or SDXL family.
        prompt: texts between BREAKs, with A1111's weights.
        negative: the same.
        clip_skip: 1 or more, counted from the last layer; None: the model's own.
    """
    encoders = [
        (tokenizer, encoder)
        for tokenizer, encoder in (
            (getattr(pipe, "tokenizer", None), getattr(pipe, "text_encoder", None)),
            (getattr(pipe, "tokenizer_2", None), getattr(pipe, "text_encoder_2", None)),
        )
        if tokenizer is not None and encoder is not None
    ]
    sdxl = hasattr(pipe, "text_encoder_2")
    chunked = [[_chunks(pipe, tokenizer, texts) for texts in (prompt, negative)] for tokenizer, _ in encoders]
    length = max(len(chunks) for pair in chunked for chunks in pair)
    found = []
    for side, texts in enumerate((prompt, negative)):
        parts = [
            _encoded(tokenizer, encoder, chunked[number][side], length, clip_skip, sdxl=sdxl)
            for number, (tokenizer, encoder) in enumerate(encoders)
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


def _chunks(pipe: Any, tokenizer: Any, texts: Sequence[str]) -> list[_Chunk]:
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    chunks: list[_Chunk] = []
    for text in texts:
        ids: list[int] = []
        weights: list[float] = []
        for piece, weight in weighed_pieces(text):
            known = pipe.maybe_convert_prompt(piece, tokenizer)  # words of textual inversions
            found = tokenizer(known, add_special_tokens=False, truncation=False, verbose=False).input_ids
            ids += found
            weights += [weight] * len(found)
        chunks += _cut(ids, weights, comma)
    return chunks


def _cut(ids: Sequence[int], weights: Sequence[float], comma: int) -> list[_Chunk]:
    chunks, begin = [], 0
    while True:
        end = begin + _CHUNK
        if end < len(ids):
            near = [at for at in range(end - _BACKTRACK, end) if ids[at] == comma]
            end = near[-1] + 1 if near else end
        chunks.append(_Chunk(tuple(ids[begin:end]), tuple(weights[begin:end])))
        begin = end
        if begin >= len(ids):
            return chunks


def _encoded(
    tokenizer: Any, encoder: Any, chunks: Sequence[_Chunk], length: int, clip_skip: int | None, *, sdxl: bool
) -> tuple[Any, Any]:
    """Return the embedding of chunks, filled up with empty ones to *length*, and the pooled one of the first."""
    import torch  # noqa: PLC0415  # on the model's thread only

    every = [*chunks, *([_Chunk((), ())] * (length - len(chunks)))]
    parts, pooled = [], None
    for chunk in every:
        padding = [tokenizer.pad_token_id] * (_CHUNK - len(chunk.ids))
        ids = [tokenizer.bos_token_id, *chunk.ids, tokenizer.eos_token_id, *padding]
        given = torch.tensor([ids], device=getattr(encoder, "device", None))
        out = encoder(given, output_hidden_states=True)
        embeds = _layer(encoder, out, clip_skip, sdxl=sdxl)
        if any(weight != 1 for weight in chunk.weights):
            embeds = _weighed(embeds, chunk.weights)
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
