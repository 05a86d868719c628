"""Model files that somebody made to do harm, or that something broke; each with the code it must be given."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from dfad_core.networks import build_classifier

CASES: dict[str, tuple[Callable[[Path], bytes], str]] = {}
"""Name -> (makes the file in a folder, the code). `ready` where it is no harm after all."""
OWN_ARCHITECTURE: set[str] = set()
"""Files for which no architecture is named."""


def case(
    code: str, name: str | None = None, *, own: bool = False
) -> Callable[[Callable[[Path], bytes]], Callable[[Path], bytes]]:
    """Adds the file that the function makes."""

    def add(make: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
        CASES[name or make.__name__] = (make, code)
        if own:
            OWN_ARCHITECTURE.add(name or make.__name__)
        return make

    return add


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(
        build_classifier("cnn8", num_classes=10, input_shape=(1, 8, 8), args={"width": 4}).state_dict()
    )


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, buffer, **options)
    return buffer.getvalue()


def rezipped(
    content: bytes, change: Callable[[str, bytes], tuple[str, bytes] | None], **options: Any
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", **options) as new:
        for entry in old.infolist():
            changed = change(entry.filename, old.read(entry))
            if changed is not None:
                new.writestr(*changed)
    return buffer.getvalue()


def with_pickle(body: bytes) -> bytes:
    """A file of torch.save whose pickle is `body`."""
    return rezipped(saved({"w": torch.zeros(2)}), lambda n, d: (n, body if n.endswith("data.pkl") else d))


class Trap:
    """Unpickling it makes a folder in the present one."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)


def safetensors(header: dict[str, Any] | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def float32(shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


@case("unsafe_pickle")
def a_pickle_that_makes_a_folder(folder: Path) -> bytes:
    return saved({"w": Trap()})


@case("unsafe_pickle")
def a_bare_pickle(folder: Path) -> bytes:
    return pickle.dumps(Trap())


@case("unsafe_pickle")
def a_name_from_the_stack(folder: Path) -> bytes:
    return with_pickle(b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x06sprung\x85R.")


@case("unsafe_pickle")
def an_instance_by_the_old_opcode(folder: Path) -> bytes:
    return with_pickle(b"(S'sprung'\nios\nmkdir\n.")


@case("unsafe_pickle")
def a_whole_network(folder: Path) -> bytes:
    return saved(nn.Linear(2, 2))


@case("unsafe_pickle")
def numpy_objects(folder: Path) -> bytes:
    return with_pickle(pickle.dumps({"w": range(3), "f": print}))


class NoScalar:
    """Of numpy's own making it would be a pointer to anywhere."""

    def __reduce__(self) -> Any:
        return np.float64(0).__reduce__()[0], (np.dtype("O"), bytes(8))


@case("ready")
def a_number_that_is_a_pointer(folder: Path) -> bytes:
    return saved({"state_dict": state(), "best": NoScalar()})


@case("ready")
def a_file_of_old_torch(folder: Path) -> bytes:
    return saved(state(), _use_new_zipfile_serialization=False)


class Persistent:
    """Pickled as a persistent id."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class OldTensor:
    """Pickled as a tensor of two numbers."""

    def __init__(self, *storage: Any) -> None:
        self.storage = Persistent(*storage)

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, (2,), (1,), False, OrderedDict())


class OldPickler(pickle.Pickler):
    """As torch.save had it before 1.6."""

    def persistent_id(self, value: Any) -> Any:
        return value.parts if isinstance(value, Persistent) else None


def old_storage(key: str = "0", elements: int = 2, view: Any = None) -> tuple[Any, ...]:
    return "storage", torch.FloatStorage, key, "cpu", elements, view


def old_file(
    value: Any, keys: Any = ("0",), elements: bytes = struct.pack("<q2f", 2, 1.0, 2.0), machine: Any = None
) -> bytes:
    """A file of old torch.save with the pickle `value`, or a pickle of it; `keys`, the names of its storages,
    likewise."""
    buffer = io.BytesIO()
    if isinstance(value, bytes):
        buffer.write(value)
    else:
        OldPickler(buffer, 2).dump(value)
    before = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, machine))
    names = keys if isinstance(keys, bytes) else pickle.dumps(list(keys) if type(keys) is tuple else keys, 2)
    return before + buffer.getvalue() + names + elements


@case("architecture_mismatch")
def an_old_file_of_one_tensor(folder: Path) -> bytes:
    return old_file({"w": OldTensor(*old_storage())})


@case("unsafe_pickle")
def an_old_file_that_makes_a_folder(folder: Path) -> bytes:
    return saved({"w": Trap()}, _use_new_zipfile_serialization=False)


@case("unsafe_pickle")
def an_old_file_of_a_machine_that_makes_a_folder(folder: Path) -> bytes:
    return old_file({"w": OldTensor(*old_storage())}, machine=Trap())


@case("corrupt_file")
def an_old_file_whose_keys_make_a_folder(folder: Path) -> bytes:
    return old_file({"w": OldTensor(*old_storage())}, keys=Trap())


@case("corrupt_file")
def an_old_file_whose_keys_lie_in_each_other(folder: Path) -> bytes:
    nested = b"\x80\x02]()" + b"\x85" * 1_000_000 + b"e."  # hashing such a tuple overflows the stack
    return old_file({"w": OldTensor(*old_storage())}, keys=nested)


@case("unsafe_pickle")
def an_old_file_of_a_whole_network(folder: Path) -> bytes:
    return saved(nn.Linear(2, 2), _use_new_zipfile_serialization=False)


@case("unsafe_pickle")
def an_old_file_that_names_a_class(folder: Path) -> bytes:
    return old_file({"w": Persistent("module", nn.Linear, "linear.py", "import os")})


@case("corrupt_file")
def an_old_storage_of_terabytes(folder: Path) -> bytes:
    return old_file({"w": OldTensor(*old_storage(elements=2**40))}, elements=struct.pack("<q", 2**40))


@case("corrupt_file")
def an_old_storage_of_less_than_nothing(folder: Path) -> bytes:
    return old_file({"w": OldTensor(*old_storage(elements=-2))}, elements=struct.pack("<q", -2))


@case("corrupt_file")
def an_old_storage_as_the_memory_was(folder: Path) -> bytes:
    return old_file({"w": OldTensor(*old_storage())}, keys=(), elements=b"")


@case("corrupt_file")
def an_old_storage_that_nothing_uses(folder: Path) -> bytes:
    return old_file({"w": 1})


@case("corrupt_file")
def an_old_storage_twice(folder: Path) -> bytes:
    two = struct.pack("<q2f", 2, 1.0, 2.0) * 2
    return old_file({"w": OldTensor(*old_storage())}, keys=("0", "0"), elements=two)


@case("corrupt_file")
def an_old_storage_of_two_sizes(folder: Path) -> bytes:
    return old_file([OldTensor(*old_storage()), OldTensor(*old_storage(elements=9))])


@case("corrupt_file")
def an_old_storage_that_lies_of_its_size(folder: Path) -> bytes:
    return old_file({"w": OldTensor(*old_storage())}, elements=struct.pack("<q2f", 3, 1.0, 2.0))


@case("corrupt_file")
def an_old_storage_of_no_class(folder: Path) -> bytes:
    return old_file({"w": OldTensor("storage", OrderedDict, "0", "cpu", 2, None)})


@case("tensor_layout")
def an_old_part_of_a_storage(folder: Path) -> bytes:
    return old_file({"w": OldTensor(*old_storage(view=("1", 2**40, 2)))})


@case("corrupt_file")
def an_old_file_with_more_behind(folder: Path) -> bytes:
    return old_file({"w": OldTensor(*old_storage())}) + saved(state())


@case("corrupt_file")
def half_an_old_file(folder: Path) -> bytes:
    content = saved(state(), _use_new_zipfile_serialization=False)
    return content[: len(content) // 2]


@case("structure_limit")
def an_old_memo_bomb(folder: Path) -> bytes:
    doubled = b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60))
    return old_file(b"\x80\x02]q\x00" + doubled + b".", keys=(), elements=b"")


@case("structure_limit")
def a_deep_old_pickle(folder: Path) -> bytes:
    return old_file(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".", keys=(), elements=b"")


@case("structure_limit")
def an_old_pickle_of_many_classes(folder: Path) -> bytes:
    names = b"".join(b"cm%d\nc\n0" % number for number in range(5000))
    return old_file(b"\x80\x02" + names + b"N.", keys=(), elements=b"")


@case("tensor_layout")
def an_old_file_of_one_value_for_all(folder: Path) -> bytes:
    changed = {**state(), "linear.weight": torch.zeros(1).expand(10, 16)}
    return saved(changed, _use_new_zipfile_serialization=False)


@case("nonfinite_weights")
def an_old_file_of_no_numbers(folder: Path) -> bytes:
    changed = {n: t.float() / 0 if n == "linear.bias" else t for n, t in state().items()}
    return saved(changed, _use_new_zipfile_serialization=False)


@case("unsupported_parametrization")
def factors_that_do_not_fit(folder: Path) -> bytes:
    weight = state()["conv1.weight"]
    return saved({**state(), "conv1.weight_g": torch.ones(10**6, 1, 1, 1), "conv1.weight_v": weight})


@case("architecture_mismatch")
def a_name_before_everything(folder: Path) -> bytes:
    ends = {"conv1.weight": torch.zeros(16, 3, 3, 3), "linear.weight": torch.zeros(10, 64)}
    layers = {f"{number}.{end}": tensor for number in range(64) for end, tensor in ends.items()}
    return saved({str(number): layers for number in range(64)})


@case("format_refused")
def torchscript(folder: Path) -> bytes:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Plain(), torch.zeros(1)).save(str(folder / "s"))
    return (folder / "s").read_bytes()


@case("format_refused")
def an_exported_program(folder: Path) -> bytes:
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, folder / "p.pt2")
    return (folder / "p.pt2").read_bytes()


@case("unsafe_archive")
def a_tar_with_a_link(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return buffer.getvalue()


@case("compressed_archive")
def a_bomb(folder: Path) -> bytes:
    large = saved({"w": torch.zeros(20_000_000)})
    return rezipped(large, lambda n, d: (n, d), compression=zipfile.ZIP_DEFLATED)


@case("corrupt_file")
def names_that_climb(folder: Path) -> bytes:
    return rezipped(saved(state()), lambda n, d: (n.replace("archive/data/", "archive/../../x/"), d))


@case("corrupt_file")
def absolute_names(folder: Path) -> bytes:
    return rezipped(saved(state()), lambda n, d: ("/tmp/" + n if n.endswith("data/0") else n, d))


@case("corrupt_file")
def an_entry_twice(folder: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rezipped(
            saved(state()), lambda n, d: ("archive/data.pkl" if n.endswith(("version", "data.pkl")) else n, d)
        )


@case("unsupported_format")
def a_zip_in_a_zip(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inner.pt", saved(state()))
    return buffer.getvalue()


def zipped(files: dict[str, str | bytes], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@case("remote_code_refused", own=True)
def a_folder_with_code(folder: Path) -> bytes:
    code = "import os; os.mkdir('sprung')"
    return zipped({"config.json": json.dumps({"auto_map": {"AutoModel": "m.E"}}), "m.py": code})


VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
}


@case("architecture_mismatch", own=True)
def a_config_of_a_giant(folder: Path) -> bytes:
    giant = {**VIT, "hidden_size": 65_536, "intermediate_size": 65_536, "num_hidden_layers": 500}
    return zipped({"config.json": json.dumps(giant), "model.safetensors": save({"a": torch.zeros(9)})})


def folder_of_timm(config: dict[str, Any]) -> bytes:
    return zipped({"config.json": json.dumps(config), "model.safetensors": save({"a": torch.zeros(9)})})


@case("unsupported_architecture", own=True)
def a_folder_of_timm_that_leads_elsewhere(folder: Path) -> bytes:
    return folder_of_timm({"architecture": "hf-hub:somebody/else", "model_type": "timm_wrapper"})


@case("unsupported_architecture", own=True)
def a_folder_of_timm_with_arguments_that_are_code(folder: Path) -> bytes:
    args = {"act_layer": "__import__('os').mkdir('sprung')", "checkpoint_path": "/etc/passwd"}
    return folder_of_timm({"architecture": "resnet18", "model_args": args})


@case("architecture_mismatch", own=True)
def a_folder_of_timm_without_its_weights(folder: Path) -> bytes:
    return folder_of_timm({"architecture": "resnet101", "num_classes": 1000})


@case("corrupt_file", own=True)
def a_config_that_laughs(folder: Path) -> bytes:
    return zipped({"config.json": "[" * 200_000, "model.safetensors": b""}, compression=zipfile.ZIP_DEFLATED)


@case("structure_limit", own=True)
def a_folder_that_is_a_bomb(folder: Path) -> bytes:
    files = {"config.json": json.dumps(VIT), "model.safetensors": bytes(300_000_000)}
    return zipped(files, compression=zipfile.ZIP_DEFLATED)


@case("corrupt_file", own=True)
def shards_that_lie_elsewhere(folder: Path) -> bytes:
    index = {"weight_map": {"a": "../../../../etc/passwd", "b": "/etc/passwd"}}
    return zipped({"config.json": json.dumps(VIT), "model.safetensors.index.json": json.dumps(index)})


@case("unsafe_archive", own=True)
def a_folder_with_a_link(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        config = tarfile.TarInfo("config.json")
        content = json.dumps(VIT).encode()
        config.size = len(content)
        tar.addfile(config, io.BytesIO(content))
        link = tarfile.TarInfo("model.safetensors")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return buffer.getvalue()


@case("unsafe_archive", own=True)
def a_folder_that_climbs(folder: Path) -> bytes:
    return zipped({"config.json": json.dumps(VIT), "../model.safetensors": b"x"})


def onnx_bytes(*nodes: Any, tensors: Any = (), external: str | None = None) -> bytes:
    import onnx
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
    held = list(tensors)
    if external is not None:
        outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[64, 10])
        outside.data_location = TensorProto.EXTERNAL
        outside.external_data.add(key="location", value=external)
        held.append(outside)
    graph = helper.make_graph(list(nodes), "g", [given], [answer], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert onnx.IR_VERSION
    content: bytes = model.SerializeToString()
    return content


@case("external_data", own=True)
def onnx_with_weights_elsewhere(folder: Path) -> bytes:
    from onnx import helper

    nodes = (helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"]))
    return onnx_bytes(*nodes, external="/etc/passwd")


def onnx_outside(location: str) -> bytes:
    from onnx import helper

    nodes = (helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"]))
    return onnx_bytes(*nodes, external=location)


@case("external_data", own=True)
def a_zip_whose_onnx_leads_out_of_it(folder: Path) -> bytes:
    return zipped({"m/model.onnx": onnx_outside("../../etc/passwd"), "m/w": bytes(2560)})


@case("external_data", own=True)
def an_onnx_that_names_the_other_uploads(folder: Path) -> bytes:
    return onnx_outside("converted.safetensors")


@case("corrupt_file", own=True)
def a_zip_whose_second_file_is_too_short(folder: Path) -> bytes:
    return zipped({"model.onnx": onnx_outside("w"), "w": bytes(100)})


@case("unsafe_archive", own=True)
def a_tar_with_an_onnx_and_a_link(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        model = tarfile.TarInfo("model.onnx")
        content = onnx_outside("w")
        model.size = len(content)
        tar.addfile(model, io.BytesIO(content))
        link = tarfile.TarInfo("w")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return buffer.getvalue()


@case("structure_limit", own=True)
def an_onnx_whose_second_file_is_a_bomb(folder: Path) -> bytes:
    files = {"model.onnx": onnx_outside("w"), "w": bytes(300_000_000)}
    return zipped(files, compression=zipfile.ZIP_DEFLATED)


@case("memory_limit", own=True)
def onnx_that_asks_for_terabytes(folder: Path) -> bytes:
    from onnx import TensorProto, helper

    shape = helper.make_tensor("s", TensorProto.INT64, [2], [2**20, 2**20])
    nodes = (helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("ReduceSum", ["c"], ["y"]))
    return onnx_bytes(*nodes, tensors=[shape])


@case("unsupported_op", own=True)
def onnx_of_another_trade(folder: Path) -> bytes:
    from onnx import helper

    return onnx_bytes(
        helper.make_node(
            "TfIdfVectorizer",
            ["x"],
            ["y"],
            mode="TF",
            min_gram_length=1,
            max_gram_length=1,
            max_skip_count=0,
            ngram_counts=[0],
            ngram_indexes=[0],
        )
    )


@case("structure_limit")
def a_memo_bomb(folder: Path) -> bytes:
    # Every list holds the one before it twice: thirty lines for a thousand million entries.
    doubled = b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60))
    return with_pickle(b"\x80\x02]q\x00" + doubled + b".")


@case("structure_limit")
def a_deep_pickle(folder: Path) -> bytes:
    return with_pickle(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")


@case("tensor_layout")
def a_giant_of_one_value(folder: Path) -> bytes:
    return saved({**state(), "conv1.weight": torch.zeros(1).expand(10**6, 10**6)})


@case("tensor_layout")
def one_value_for_all(folder: Path) -> bytes:
    return saved({**state(), "linear.weight": torch.zeros(1).expand(10, 16)})


@case("tensor_layout")
def sparse(folder: Path) -> bytes:
    return saved({n: t.to_sparse() if n == "linear.weight" else t for n, t in state().items()})


@case("tensor_layout")
def without_memory(folder: Path) -> bytes:
    return saved({n: t.to("meta") for n, t in state().items()})


@case("tensor_layout")
def quantised(folder: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = torch.quantize_per_tensor(state()["linear.weight"], 0.1, 0, torch.qint8)
    return saved({**state(), "linear.weight": small})


@case("tensor_layout")
def whole_numbers(folder: Path) -> bytes:
    return saved({n: t.to(torch.int8) for n, t in state().items()})


@case("nonfinite_weights")
def not_numbers(folder: Path) -> bytes:
    return saved({n: t.float() / 0 if n == "linear.bias" else t for n, t in state().items()})


@case("nonfinite_weights")
def too_large_for_float32(folder: Path) -> bytes:
    return saved({n: t.double() + 1e300 if n == "linear.bias" else t for n, t in state().items()})


@case("unsupported_format")
def nothing_in_it(folder: Path) -> bytes:
    return saved({})


@case("unsupported_format")
def a_list(folder: Path) -> bytes:
    return saved([1, 2, 3])


@case("ready")
def double_precision(folder: Path) -> bytes:
    return saved({n: t.double() for n, t in state().items()})


@case("ready")
def half_precision(folder: Path) -> bytes:
    return saved({n: t.bfloat16() if t.is_floating_point() else t for n, t in state().items()})


for _tenth in range(1, 10):

    @case("corrupt_file", f"torn_after_{_tenth}_tenths")
    def _torn(folder: Path, tenth: int = _tenth) -> bytes:
        content = saved(state())
        return content[: len(content) * tenth // 10]


@case("corrupt_file")
def torn_safetensors(folder: Path) -> bytes:
    return save(state())[:-100]


@case("unsupported_format")
def text(folder: Path) -> bytes:
    return b"these are not weights\n" * 50


@case("unsupported_format")
def noise(folder: Path) -> bytes:
    return bytes((n * 7919 + 255) % 256 for n in range(5000))


@case("corrupt_file")
def a_header_of_two_gigabytes(folder: Path) -> bytes:
    return struct.pack("<Q", 2**31) + b"{" + b" " * 1000


@case("corrupt_file")
def a_header_longer_than_the_file(folder: Path) -> bytes:
    return struct.pack("<Q", 5000) + b'{"a": 1}'


@case("corrupt_file")
def overlapping_tensors(folder: Path) -> bytes:
    return safetensors({"a": float32([4], 0, 16), "b": float32([4], 8, 24)}, b"\0" * 24)


@case("corrupt_file")
def a_tensor_outside(folder: Path) -> bytes:
    return safetensors({"a": float32([4], 1000, 1016)}, b"\0" * 16)


@case("corrupt_file")
def a_name_twice(folder: Path) -> bytes:
    entry = json.dumps(float32([4], 0, 16))
    return safetensors(f'{{"a": {entry}, "a": {entry}}}'.encode(), b"\0" * 16)


@case("corrupt_file")
def a_negative_size(folder: Path) -> bytes:
    return safetensors({"a": float32([-4], 0, 16)}, b"\0" * 16)


@case("corrupt_file")
def a_size_beyond_counting(folder: Path) -> bytes:
    return safetensors({"a": float32([2**40, 2**40], 0, 16)}, b"\0" * 16)


@case("tensor_layout")
def a_giant_without_values(folder: Path) -> bytes:
    return safetensors({"a": float32([2**60, 0], 0, 0)})


@case("corrupt_file")
def bytes_behind_the_last_tensor(folder: Path) -> bytes:
    return save(state()) + b"more"


@case("corrupt_file")
def a_header_a_thousand_deep(folder: Path) -> bytes:
    return safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000)


@case("corrupt_file")
def names_in_no_alphabet(folder: Path) -> bytes:
    return safetensors(b'{"\xff\xfe": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"\0" * 4)


@case("architecture_mismatch")
def weights_of_something_else(folder: Path) -> bytes:
    return save({"a.weight": torch.zeros(3, 3)})


def a_sound_graph() -> bytes:
    """An ONNX file that is read."""
    from onnx import helper, numpy_helper

    weights = numpy_helper.from_array(
        torch.randn(64, 10, generator=torch.Generator().manual_seed(0)).numpy(), "w"
    )
    nodes = (helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"]))
    return onnx_bytes(*nodes, tensors=[weights])


def a_sound_folder() -> bytes:
    """A Hugging Face folder that is read."""
    from transformers import AutoConfig, AutoModelForImageClassification

    torch.manual_seed(0)
    config = {**VIT, "intermediate_size": 16, "patch_size": 8, "num_channels": 1, "num_labels": 3}
    model = AutoModelForImageClassification.from_config(AutoConfig.for_model(**config))
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    kept = {**config, "id2label": {"0": "a", "1": "b", "2": "c"}}
    return zipped({"config.json": json.dumps(kept), "model.safetensors": save(weights)})
