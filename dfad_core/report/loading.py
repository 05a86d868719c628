"""Lines of Python that load a student into torchvision or timm."""

from __future__ import annotations

from dfad_core.contract.architectures import ARCHITECTURES, LIBRARIES
from dfad_core.formats.metadata import StudentMetadata

USUAL_SIDE = 224


def loading_lines(student: StudentMetadata, file: str = "student.safetensors") -> tuple[str, ...]:
    """Lines that build the library's network and load `file`; none where it has none.

    Narrow MobileNets are the library's with a width multiplier. It has no narrow ResNets, and torchvision has
    no networks for other than colour images.
    """
    library, _, name = student.architecture.partition(":")
    row = ARCHITECTURES.get(student.architecture)
    if library not in LIBRARIES or (row is not None and student.args and row.width_weight is None):
        return ()
    channels, side, _ = student.input.shape
    if row is None and side != USUAL_SIDE:  # some of the others are built for a size
        return ()
    options = [f"num_classes={student.num_classes}"]
    if row is not None and student.args:
        options.append(f"width_mult={student.args['width']} / {row.usual_width}")
    if library == "timm":
        options += [f"in_chans={channels}"] if channels != 3 else []
        options += [f"img_size={side}"] if row is not None and row.positions else []
        build = f"timm.create_model({name!r}, {', '.join(options)})"
    elif channels != 3:
        return ()
    else:
        options += [f"image_size={side}"] if row is not None and row.positions else []
        build = f"torchvision.models.get_model({name!r}, {', '.join(options)})"
    return (
        f"import safetensors.torch, {library}",
        f"network = {build}.eval()",
        f"network.load_state_dict(safetensors.torch.load_file({file!r}))",
    )
