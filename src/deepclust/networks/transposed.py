"""Transposed convolution whose bias is added afterwards."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Transposed(nn.ConvTranspose2d):
    """A `torch.nn.ConvTranspose2d`, several times as fast on the processors that compute bfloat16 natively.

    There PyTorch has a quick path for transposed convolutions without bias only: 11 ms in place of 74 for 50 to 50
    filters of side 5 on a map of 6 by 6, 256 rows, one core.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the larger map; ``output_size`` is not supported."""
        if output_size is not None:
            raise NotImplementedError("Transposed has its output size by its padding; leave output_size out.")
        out: Tensor = F.conv_transpose2d(
            input,
            self.weight,
            None,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            self.output_padding,
            self.groups,
            self.dilation,
        )
        return out if self.bias is None else out + self.bias.to(out.dtype).view(-1, 1, 1)
