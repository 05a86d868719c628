"""The engine as a program that writes JSON to standard output, one object a line.

`dfad distill`, `dfad export` and `dfad bench` show these lines to people. They have the form of a job's
events, `{"seq", "type", "data"}`; the last one is `result` or `error`.
"""
