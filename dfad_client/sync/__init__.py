"""The client for threads, made from `aio` by `python tools/sync_twin.py`; `waiting.py` is not."""
