"""What the algorithms share; nothing here names an algorithm."""
