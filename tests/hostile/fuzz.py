"""Run by test_fuzz: mutations of sound files, each read as the runner reads what was uploaded.

    python -m tests.hostile.fuzz FOLDER CASES SEED

The same seed makes the same cases. Prints one JSON object: how often each code was given, and what
must not be. A process of its own, since reading forks, and a process with threads must not.
"""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from dfad_core.contract.errors import TeacherRejected
from tests.hostile import files
from worker.conversion import PLACE as READING
from worker.conversion import convert
from worker.reader import INITIAL, LABELLED, NAME, Files

KNOWN = {"t", READING, NAME, INITIAL, LABELLED}
FAULTS = ("loader_crashed", "loader_timeout")


def seeds() -> list[tuple[str, bytes, dict[str, Any]]]:
    """Sound files, one of each format, and how they are sent."""
    named: dict[str, Any] = {"architecture": "cnn8"}
    state = files.state()
    return [
        ("safetensors", files.save(state), named),
        ("state dict", files.saved(state), named),
        ("old", files.saved(state, _use_new_zipfile_serialization=False), named),
        ("wrapped", files.saved({"state_dict": state, "epoch": 3}), named),
        ("onnx", files.a_sound_graph(), {}),
        ("folder", files.a_sound_folder(), {}),
    ]


PLACE = st.floats(0, 1, exclude_max=True)
CHANGE = st.one_of(
    st.tuples(st.just("set"), PLACE, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), PLACE, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("cut"), PLACE, st.integers(1, 4096)),
    st.tuples(st.just("repeat"), PLACE, st.integers(1, 4096)),
    st.tuples(st.just("end"), PLACE, st.just(0)),
    st.tuples(st.just("size"), PLACE, st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])),
)


def changed(content: bytes, change: tuple[str, float, Any], near: bool) -> bytes:
    """One mutation; `near`: in the first kilobyte, where the headers are."""
    what, place, how = change
    at = int(place * (min(1024, len(content)) if near else len(content)))
    match what:
        case "set":
            return content[:at] + how + content[at + len(how) :]
        case "insert":
            return content[:at] + how + content[at:]
        case "cut":
            return content[:at] + content[at + how :]
        case "repeat":
            return content[:at] + content[at : at + how] + content[at:]
        case "end":
            return content[:at]
    return content[:at] + how.to_bytes(8, "little") + content[at + 8 :]


def main(folder: Path, cases: int, chance: int) -> None:
    """Count, and print."""
    import torch
    import transformers  # noqa: F401  (as in a runner: before the walls)

    torch.set_num_threads(1)
    sound, codes, faults = seeds(), Counter[str](), []
    path = folder / "t"

    def read(content: bytes, spec: dict[str, Any]) -> str:
        path.write_bytes(content)
        try:
            convert(Files(path), spec, lambda: None)
        except TeacherRejected as error:
            return error.code
        return "read"

    for name, content, spec in sound:
        if (code := read(content, spec)) != "read":
            faults.append(f"{name}, unchanged: {code}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @seed(chance)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(sound), st.lists(CHANGE, min_size=1, max_size=3), st.booleans())
    def mutate(original: tuple[str, bytes, dict[str, Any]], changes: list[Any], near: bool) -> None:
        name, content, spec = original
        for change in changes:
            content = changed(content, change, near)
        code = read(content, spec)
        codes[code] += 1
        if code in FAULTS:
            faults.append(f"{name}: {code} {changes} {near}")
            (folder.parent / f"fault-{chance}-{len(faults)}").write_bytes(content)

    mutate()
    told = {
        "codes": dict(codes),
        "faults": faults,
        "grown_kilobytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before,
        "left": sorted(p.name for p in folder.iterdir() if p.name not in KNOWN),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
