"""What is stored to learn from: replays, rollouts, demonstrations."""
