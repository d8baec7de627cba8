"""Expert demonstrations: recorded, verified and replayed from seed and actions."""
