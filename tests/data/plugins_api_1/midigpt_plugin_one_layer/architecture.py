"""One transformer layer with learned positions."""

import attrs
import torch
from torch import nn


@attrs.frozen
class Options:
    #: Width of the model, a multiple of the number of heads.
    width: int = attrs.field(default=64, validator=attrs.validators.ge(1))
    heads: int = attrs.field(default=4, validator=attrs.validators.ge(1))


class Model(nn.Module):
    def __init__(self, options, context):
        super().__init__()
        self.options = options
        self.context = context
        self.token = nn.Embedding(context.vocab_size, options.width)
        self.position = nn.Embedding(context.max_seq_len, options.width)
        self.layer = nn.TransformerEncoderLayer(
            options.width, options.heads, dropout=0.0, batch_first=True, norm_first=True
        )
        self.head = nn.Linear(options.width, context.vocab_size)

    def forward(self, input_ids, position_ids=None, document_ids=None, cache=None):
        """Logits [B, L, V]; a token sees the earlier tokens of its own document and itself."""
        length = input_ids.shape[1]
        order = torch.arange(length, device=input_ids.device)
        if position_ids is None:
            position_ids = order.expand_as(input_ids)
        if document_ids is None:
            document_ids = torch.zeros_like(input_ids)
        seen = (order[:, None] >= order) & (document_ids[:, :, None] == document_ids[:, None, :])
        hidden = self.token(input_ids) + self.position(position_ids)
        hidden = self.layer(hidden, src_mask=~seen.repeat_interleave(self.options.heads, dim=0))
        return self.head(hidden)

    def architecture_config(self):
        """What a bundle stores: the same model can be built from it."""
        sizes = {"vocab_size": self.context.vocab_size, "n_positions": self.context.max_seq_len}
        return sizes | attrs.asdict(self.options)


def build(options, context):
    return Model(options, context)
