"""The engine as a program that tells what it does as JSON, a line each, on standard output.

`dfad distill`, `dfad export` and `dfad bench` show these lines to people. They have the form of a job's
events: `{"seq", "type", "data"}`; the last one is `result` or `error`.
"""
