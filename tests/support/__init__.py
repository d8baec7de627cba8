"""What several test files share, beside the fixtures and small runs of `conftest.py`."""
