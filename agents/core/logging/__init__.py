"""The outputs of training: metrics, W&B and the console."""
