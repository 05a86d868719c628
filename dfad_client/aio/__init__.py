"""The client for asyncio, and the source of the other one.

`python tools/sync_twin.py` (part of `make format`) writes `dfad_client/sync` from the files here: what is
written once for `await` is read there without it. `waiting.py` alone is written by hand on both sides.
"""
