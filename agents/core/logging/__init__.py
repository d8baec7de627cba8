"""What a training tells: metrics, W&B, the console."""
