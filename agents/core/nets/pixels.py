"""Converts the bytes of images to the floats that a torso reads."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def channels_last(image_BCHW: Tensor) -> Tensor:
    """Converts bytes (B, C, H, W) to (B, H, W, C), the fastest layout for convolutions."""
    if image_BCHW.shape[1] != 4 or image_BCHW.device.type != "cpu":
        return image_BCHW.permute(0, 2, 3, 1).contiguous()
    # Shifts pack four bytes into one number, the first byte lowest. Torch vectorizes shifts, but
    # does not vectorize a transposition.
    plane_BCP = image_BCHW.flatten(2)
    packed_BP = plane_BCP[:, 3].int()
    for channel in (2, 1, 0):
        packed_BP = packed_BP.bitwise_left_shift_(8).add_(plane_BCP[:, channel])
    return packed_BP.view(torch.uint8).unflatten(1, (*image_BCHW.shape[2:], 4))


def scaled_to_one(pixels: Pixels, saved: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Adds the scale to [0, 1] to weights of earlier versions, which hold no scale."""
    saved.setdefault(f"{prefix}scale_HWC", torch.full_like(pixels.scale_HWC, 1 / 255))
    saved.setdefault(f"{prefix}offset_HWC", torch.zeros_like(pixels.offset_HWC))


class Pixels(nn.Module):
    """Converts images (B, C, H, W) of bytes to float32, in the layout channels_last.

    Each pixel of each channel is multiplied by a scale, and an offset is added. The result is in
    [0, 1] until `standardize` is called. Scale and offset are buffers, saved with the weights. The
    values of float images are unchanged.
    """

    scale_HWC: Tensor
    offset_HWC: Tensor

    def __init__(self, obs_shape: tuple[int, ...]):
        super().__init__()
        channels, height, width = obs_shape
        self.register_buffer("scale_HWC", torch.full((height, width, channels), 1 / 255))
        self.register_buffer("offset_HWC", torch.zeros(height, width, channels))
        self.register_load_state_dict_pre_hook(scaled_to_one)

    def standardize(self, mean_CHW: Tensor, deviation_CHW: Tensor) -> None:
        """Sets scale and offset to subtract each pixel's mean and divide by its deviation."""
        self.scale_HWC.copy_((1 / deviation_CHW).permute(1, 2, 0))
        self.offset_HWC.copy_((-mean_CHW / deviation_CHW).permute(1, 2, 0))

    def forward(self, obs_BCHW: Tensor) -> Tensor:
        if obs_BCHW.dtype != torch.uint8:
            return obs_BCHW.float().contiguous(memory_format=torch.channels_last)
        image_BHWC = channels_last(obs_BCHW).float()
        torch.addcmul(self.offset_HWC, image_BHWC, self.scale_HWC, out=image_BHWC)
        return image_BHWC.permute(0, 3, 1, 2)
