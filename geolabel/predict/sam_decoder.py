"""The mask decoder of SAM 1 and SAM 2, arranged for many prompts on one image and for one prompt at once.

The same arithmetic as the published decoder (the two-way transformer of both families), in another order:

* What depends on the image alone (first keys, values and queries, positional parts) is computed once per image.
* Projections of the 4,096 image tokens are folded into the few prompt tokens, on which they act the same way.
* Feature maps keep channels last, so that both upscalings are matrix products and nothing is moved about.
* The predicted quality needs the tokens only; masks are made for those that pass.

Nothing here keeps state between calls: any number of threads may decode at the same time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """What decoding needs of one image, on the device; n = 64·64 image tokens, c = 256 channels, i = 128.

    Attributes:
        keys: (n, c) image tokens.
        first_k: (heads, i/heads, n) keys of the first layer.
        first_v: (heads, n, i/heads) its values.
        first_q: (heads, n, i/heads) its image queries.
        fine: High-resolution features of SAM 2: (n, 4, c/4) and (n, 4, 4, c/8), or None.
    """

    keys: Tensor
    first_k: Tensor
    first_v: Tensor
    first_q: Tensor
    fine: tuple[Tensor, Tensor] | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        tensors = [self.keys, self.first_k, self.first_v, self.first_q, *(self.fine or ())]
        return sum(t.numel() * t.element_size() for t in tensors)


def _heads(x: Tensor, heads: int) -> Tensor:
    """(…, n, i) → (…, heads, n, i/heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


class _Cross:
    """A cross attention with its projections of image tokens folded away."""

    def __init__(self, attention: Any, image_is_query: bool) -> None:
        self.heads = int(attention.num_heads)
        self.inner = int(attention.internal_dim)
        self.scale = 1.0 / math.sqrt(self.inner / self.heads)
        self.attention = attention
        image_proj = attention.q_proj if image_is_query else attention.k_proj
        #: (heads, i/heads, c): takes a token's query (or key) to the space of the image tokens.
        self.fold = image_proj.weight.detach().unflatten(0, (self.heads, -1)) * self.scale
        self.value = attention.v_proj.weight.detach().unflatten(0, (self.heads, -1))
        self.out = attention.out_proj.weight.detach().unflatten(1, (self.heads, -1)).permute(1, 2, 0).contiguous()
        self.pe: Tensor = torch.empty(0)

    def set_pe(self, pe: Tensor, *, image_is_query: bool) -> None:
        """Keep the positional part of the image's projection, scaled: (heads, n, i/heads)."""
        proj = self.attention.q_proj if image_is_query else self.attention.k_proj
        # A bias on the keys adds the same to all scores of a query and falls out of the softmax; on queries it counts.
        bias = proj.bias if image_is_query else None
        self.pe = _heads(functional.linear(pe, proj.weight, bias) * self.scale, self.heads).contiguous()

    def tokens_to_image(self, q: Tensor, keys: Tensor) -> Tensor:
        """Attend from (b, t, c) tokens, position included, to (b, n, c) image tokens; returns (b, t, c)."""
        b, t, _ = q.shape
        heads = self.attention.q_proj(q).unflatten(-1, (self.heads, -1))
        folded = torch.einsum("bthd,hdc->bhtc", heads, self.fold).flatten(1, 2)
        place = torch.einsum("bthd,hnd->bhtn", heads, self.pe).flatten(1, 2)
        weights = torch.baddbmm(place, folded, keys.transpose(1, 2)).softmax(dim=-1)
        context = torch.bmm(weights, keys).unflatten(1, (self.heads, t))
        values = torch.einsum("bhtc,hdc->bthd", context, self.value).reshape(b, t, self.inner)
        return self._out(values + self.attention.v_proj.bias)

    def _out(self, values: Tensor) -> Tensor:
        out: Tensor = self.attention.out_proj(values)
        return out

    def image_to_tokens(self, keys: Tensor, k: Tensor, v: Tensor, first_q: Tensor | None) -> Tensor:
        """Return keys plus what (b, n, c) image tokens take from (b, t, c) tokens.

        Args:
            keys: Image tokens, or (n, c) shared by all prompts when `first_q` is given.
            k: Tokens with their position.
            v: Tokens without it.
            first_q: (heads, n, i/heads) scaled queries of the image, where they do not depend on the prompt.
        """
        b, t, _ = k.shape
        key = self.attention.k_proj(k).unflatten(-1, (self.heads, -1))
        if first_q is None:
            folded = torch.einsum("bthd,hdc->bhtc", key, self.fold).flatten(1, 2)
            place = torch.einsum("bthd,hnd->bnht", key, self.pe).flatten(2, 3)
            scores = torch.baddbmm(place, keys, folded.transpose(1, 2))
        else:
            scores = torch.einsum("bthd,hnd->bnht", key, first_q).flatten(2, 3)
            keys = keys.unsqueeze(0).expand(b, -1, -1)
        weights = scores.unflatten(2, (self.heads, t)).softmax(dim=-1).flatten(2, 3)
        value = self.attention.v_proj(v).unflatten(-1, (self.heads, -1))
        carried = torch.einsum("bthd,hdc->bhtc", value, self.out).flatten(1, 2)
        return torch.baddbmm(keys + self.attention.out_proj.bias, weights, carried)


class SamDecoder:
    """Decodes prompts of a loaded SAM 1 or SAM 2 model.

    Args:
        prompt_encoder: The model's prompt encoder.
        mask_decoder: Its mask decoder.
        pad_boxes: Whether a box gets the empty point that clicks get (SAM 2 does, SAM 1 does not).
    """

    def __init__(self, prompt_encoder: Any, mask_decoder: Any, *, pad_boxes: bool) -> None:
        self._prompts = prompt_encoder
        self._decoder = mask_decoder
        self._pad_boxes = pad_boxes
        transformer = mask_decoder.transformer
        with torch.inference_mode():
            self._t2i = [_Cross(layer.cross_attn_token_to_image, False) for layer in transformer.layers]
            self._i2t = [_Cross(layer.cross_attn_image_to_token, True) for layer in transformer.layers]
            self._final = _Cross(transformer.final_attn_token_to_image, False)
            pe = prompt_encoder.get_dense_pe()
            self._grid = (int(pe.shape[2]), int(pe.shape[3]))
            self._pe = pe[0].flatten(1).t().contiguous()
            for cross in (*self._t2i, self._final):
                cross.set_pe(self._pe, image_is_query=False)
            for cross in self._i2t:
                cross.set_pe(self._pe, image_is_query=True)
            self._dense = prompt_encoder.no_mask_embed.weight.reshape(1, -1)
            self._output_tokens = self._tokens()
            first, norm, _, second, _ = mask_decoder.output_upscaling
            # (c, out, 2, 2) of a stride-2 transposed convolution is a product with (c, 4·out).
            self._up1 = first.weight.permute(0, 2, 3, 1).flatten(1).contiguous()
            self._up1_bias = first.bias
            self._up2 = second.weight.permute(0, 2, 3, 1).flatten(1).contiguous()
            self._up2_bias = second.bias
            self._norm = (norm.weight, norm.bias, float(norm.eps))

    def _tokens(self) -> Tensor:
        decoder = self._decoder
        parts = [decoder.iou_token.weight, decoder.mask_tokens.weight]
        if getattr(decoder, "pred_obj_scores", False):
            parts.insert(0, decoder.obj_score_token.weight)
        return torch.cat(parts, dim=0)

    def prepare(self, image: Tensor, fine: tuple[Tensor, Tensor] | None) -> PreparedImage:
        """Compute what depends on the image alone.

        Args:
            image: (c, h, w) embedding.
            fine: (c/4, 2h, 2w) and (c/8, 4h, 4w) high-resolution features of SAM 2, or None.
        """
        keys = image.flatten(1).t() + self._dense
        t2i, i2t = self._t2i[0], self._i2t[0]
        with_pe = keys + self._pe
        k = _heads(t2i.attention.k_proj(with_pe) * t2i.scale, t2i.heads)
        v = _heads(t2i.attention.v_proj(keys), t2i.heads)
        q = _heads(i2t.attention.q_proj(with_pe) * i2t.scale, i2t.heads)
        return PreparedImage(
            keys=keys.contiguous(),
            first_k=k.transpose(-1, -2).contiguous(),
            first_v=v.contiguous(),
            first_q=q.contiguous(),
            fine=None if fine is None else (_blocks2(fine[0]), _blocks4(fine[1])),
        )

    def embed_prompts(self, coords: Tensor, labels: Tensor) -> Tensor:
        """Embed (b, k, 2) points in model px with labels 1, 0 (negative), 2 and 3 (corners of a box): (b, k', c)."""
        has_box = bool((labels == 2).any())
        if not has_box or self._pad_boxes:
            coords = torch.cat([coords, coords.new_zeros(coords.shape[0], 1, 2)], dim=1)
            labels = torch.cat([labels, labels.new_full((labels.shape[0], 1), -1)], dim=1)
        encoder = self._prompts
        place = encoder.pe_layer.forward_with_coords(coords + 0.5, encoder.input_image_size)
        table = torch.cat([encoder.not_a_point_embed.weight, *(e.weight for e in encoder.point_embeddings)], dim=0)
        kind = table[(labels + 1).long()]
        embedded: Tensor = torch.where((labels >= 0).unsqueeze(-1), place + kind, kind)
        return embedded

    def decode(
        self, image: PreparedImage, coords: Tensor, labels: Tensor, *, multimask: bool, iou_above: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decode b prompts on one image.

        Args:
            image: From `prepare`.
            coords: (b, k, 2) in model px.
            labels: (b, k) int.
            multimask: Three masks a prompt for ambiguous ones, else one.
            iou_above: Make only masks whose predicted quality is above it.

        Returns:
            (m, 4h, 4w) logits, (m,) predicted qualities, (m,) index of the prompt, (m,) index of the mask.
        """
        tokens, keys = self._transform(image, coords, labels)
        first = 1 if getattr(self._decoder, "pred_obj_scores", False) else 0
        quality = self._decoder.iou_prediction_head(tokens[:, first]).float()
        masks = tokens[:, first + 1 : first + 1 + self._decoder.num_mask_tokens]
        chosen = slice(1, None) if multimask else slice(0, 1)
        quality, masks = quality[:, chosen], masks[:, chosen]
        wanted = torch.ones_like(quality, dtype=torch.bool) if iou_above is None else quality > iou_above
        prompt, mask = wanted.nonzero(as_tuple=True)
        rows, back = prompt.unique(return_inverse=True)
        shape = (4 * self._grid[0], 4 * self._grid[1])
        if rows.numel() == 0:
            return keys.new_zeros((0, *shape)), quality[wanted], prompt, mask
        mlps = self._decoder.output_hypernetworks_mlps
        offset = 1 if multimask else 0
        hyper = torch.stack([mlps[i + offset](masks[:, i]) for i in range(masks.shape[1])], dim=1)
        upscaled = self._upscale(keys if rows.numel() == keys.shape[0] else keys[rows], image.fine)
        logits = torch.bmm(upscaled, hyper[rows].transpose(1, 2))
        picked = logits.transpose(1, 2)[back, mask]
        return self._as_grid(picked), quality[wanted], prompt, mask

    def _transform(self, image: PreparedImage, coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        sparse = self.embed_prompts(coords, labels)
        b = sparse.shape[0]
        tokens = torch.cat([self._output_tokens.unsqueeze(0).expand(b, -1, -1), sparse], dim=1)
        queries, keys = tokens, image.keys
        transformer = self._decoder.transformer
        for number, layer in enumerate(transformer.layers):
            if layer.skip_first_layer_pe:
                queries = layer.norm1(layer.self_attn(q=queries, k=queries, v=queries))
            else:
                placed = queries + tokens
                queries = layer.norm1(queries + layer.self_attn(q=placed, k=placed, v=queries))
            first = number == 0
            if first:
                taken = self._first(image, queries + tokens)
            else:
                taken = self._t2i[number].tokens_to_image(queries + tokens, keys)
            queries = layer.norm2(queries + taken)
            queries = layer.norm3(queries + layer.mlp(queries))
            given = self._i2t[number].image_to_tokens(keys, queries + tokens, queries, image.first_q if first else None)
            keys = layer.norm4(given)
        taken = self._final.tokens_to_image(queries + tokens, keys)
        return transformer.norm_final_attn(queries + taken), keys

    def _first(self, image: PreparedImage, q: Tensor) -> Tensor:
        cross = self._t2i[0]
        b, t, _ = q.shape
        heads = cross.attention.q_proj(q).unflatten(-1, (cross.heads, -1)).permute(2, 0, 1, 3).flatten(1, 2)
        weights = torch.bmm(heads, image.first_k).softmax(dim=-1)
        values = torch.bmm(weights, image.first_v).unflatten(1, (b, t)).permute(1, 2, 0, 3).flatten(2)
        return cross._out(values)

    def _upscale(self, keys: Tensor, fine: tuple[Tensor, Tensor] | None) -> Tensor:
        """(b, n, c) image tokens → (b, n·16, c/8) features of four times the resolution, block by block."""
        b, n, _ = keys.shape
        up = (keys @ self._up1).unflatten(-1, (4, -1)) + self._up1_bias
        if fine is not None:
            up = up + fine[0]
        weight, bias, eps = self._norm
        up = functional.gelu(functional.layer_norm(up, up.shape[-1:], weight.to(up.dtype), bias.to(up.dtype), eps))
        up = (up @ self._up2).unflatten(-1, (4, -1)) + self._up2_bias
        if fine is not None:
            up = up + fine[1]
        return functional.gelu(up).reshape(b, n * 16, -1)

    def _as_grid(self, picked: Tensor) -> Tensor:
        """(m, n·16) in block order → (m, 4h, 4w)."""
        h, w = self._grid
        blocks = picked.unflatten(1, (h, w, 2, 2, 2, 2))
        return blocks.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, 4 * h, 4 * w)


def _blocks2(x: Tensor) -> Tensor:
    """(c, 2h, 2w) → (h·w, 4, c)."""
    c, h, w = x.shape
    return x.reshape(c, h // 2, 2, w // 2, 2).permute(1, 3, 2, 4, 0).reshape(-1, 4, c).contiguous()


def _blocks4(x: Tensor) -> Tensor:
    """(c, 4h, 4w) → (h·w, 4, 4, c): first the half, then the quarter."""
    c, h, w = x.shape
    parts = x.reshape(c, h // 4, 2, 2, w // 4, 2, 2).permute(1, 4, 2, 5, 3, 6, 0)
    return parts.reshape(-1, 4, 4, c).contiguous()
