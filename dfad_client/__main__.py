"""`python -m dfad_client`: the same as `dfad`."""

from dfad_client.cli import app

if __name__ == "__main__":
    app(prog_name="dfad")
