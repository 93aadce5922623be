"""What every test shares: one torch thread, so that parallel tests do not slow each other down."""

import torch

torch.set_num_threads(1)
