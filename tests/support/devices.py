"""The devices that tests run on: a test of tensors takes each, and skips a GPU that is absent."""

from __future__ import annotations

import pytest
import torch

CPU = torch.device("cpu")
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [CPU, pytest.param(torch.device("cuda"), marks=CUDA)]
