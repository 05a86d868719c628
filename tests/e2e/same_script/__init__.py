"""One end-to-end script and four ways of running it: curl, `dfad`, the Python client, a generated client."""
