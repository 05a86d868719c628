"""`python -m dfad_core.cli`: the engine as a program, with torch, numpy and safetensors alone."""

import sys

from dfad_core.cli.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
