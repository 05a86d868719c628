"""On the PYTHONPATH of a process: the modules that NOT_INSTALLED names are as if they were not installed."""

import importlib.abc
import os
import sys


class _Missing(importlib.abc.MetaPathFinder):
    names = frozenset(os.environ["NOT_INSTALLED"].split(","))

    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


sys.meta_path.insert(0, _Missing())
