"""Hugging Face folders: what transformers saves is read as it answers, everything else is refused by name.

Guards: that only transformers' own classes are built, only safetensors are read, and nothing large is built
for a config whose weights are not there.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats import LoadedTeacher, load_teacher
from dfad_core.formats.converted import read_converted, write_converted

pytest.importorskip("transformers")

VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
       "image_size": 16, "patch_size": 8, "num_channels": 1}  # fmt: skip
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "vocab_size": 50_000}  # fmt: skip
PERCEIVER = {"num_latents": 4, "d_latents": 16, "d_model": 16, "num_blocks": 1,
             "num_self_attends_per_block": 1, "num_self_attention_heads": 2,
             "num_cross_attention_heads": 1, "image_size": 16}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "vit": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
            "image_size": 16, "patch_size": 8},
    "deit": {"architectures": ["DeiTForImageClassification"], "hidden_size": 16, "num_hidden_layers": 2,
             "num_attention_heads": 2, "intermediate_size": 24, "image_size": 16, "patch_size": 8},
    "beit": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
             "image_size": 16, "patch_size": 8},
    "dinov2": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
               "patch_size": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"},
    "regnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 4},
    "convnext": {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
    "swin": {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2],
             "window_size": 4},
    "mobilenet_v1": {"depth_multiplier": 0.25, "min_depth": 4, "image_size": 32},
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 32},
    "poolformer": {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "ijepa": VIT,
    "clip": {"vision_config": VIT, "text_config": TEXT, "projection_dim": 16},
    "metaclip_2": {"vision_config": VIT, "text_config": TEXT, "projection_dim": 16},
    "siglip": {"vision_config": VIT, "text_config": TEXT},
    "siglip2": {"vision_config": {**VIT, "num_patches": 4}, "text_config": TEXT},
    "donut-swin": {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2],
                   "window_size": 4},
    "pp_lcnet": {"scale": 0.25, "class_expand": 16},
    "hgnet_v2": {"embedding_size": 8, "stem_channels": [3, 8, 8], "hidden_sizes": [16, 16], "depths": [1, 1],
                 "stage_in_channels": [8, 16], "stage_mid_channels": [8, 8], "stage_out_channels": [16, 16],
                 "stage_num_blocks": [1, 1], "stage_downsample": [False, True],
                 "stage_light_block": [False, True],
                 "stage_kernel_size": [3, 5], "stage_numb_of_layers": [2, 2],
                 "stage_downsample_strides": [2, 2]},
}  # fmt: skip
OTHER_CLASSES = {
    "DeiTForImageClassificationWithTeacher": CONFIGS["deit"],
    "LevitForImageClassificationWithTeacher": {
        "hidden_sizes": [16, 16, 16], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1],
        "key_dim": [8, 8, 8], "image_size": 64,
    },
    "PerceiverForImageClassificationLearned": PERCEIVER,
    "PerceiverForImageClassificationFourier": PERCEIVER,
    "PerceiverForImageClassificationConvProcessing": PERCEIVER,
}  # fmt: skip
BATCH_NORM = ("resnet", "regnet", "mobilenet_v1", "mobilenet_v2", "pp_lcnet", "hgnet_v2")
SIDES = {
    "mobilenet_v1": 32,
    "mobilenet_v2": 32,
    "poolformer": 32,
    "pp_lcnet": 32,
    "hgnet_v2": 32,
    "levit": 64,
}
COLOUR = ("perceiver", "pp_lcnet", "hgnet_v2", "levit")
"""Model types that take colour images alone."""


def saved(kind: str, folder: Path, class_name: str = "", **options: Any) -> tuple[Path, nn.Module]:
    import transformers

    torch.manual_seed(0)
    values = OTHER_CLASSES[class_name] if class_name else CONFIGS[kind]
    values = values if kind in COLOUR else {**values, "num_channels": 1}
    config = transformers.AutoConfig.for_model(kind, **values, num_labels=5)
    if class_name:
        model = getattr(transformers, class_name)(config)
    else:
        model = transformers.AutoModelForImageClassification.from_config(config)
    for module in model.modules():  # statistics as of a training, not 0 and 1
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
    model.save_pretrained(folder, **options)
    channels, side, _ = shape_of(kind)
    sides = {"height": side, "width": side}
    norm = {"do_normalize": True, "image_mean": [0.5] * channels, "image_std": [0.25] * channels}
    about = {**norm, "size": sides, "crop_size": sides}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return folder, model.eval()


def shape_of(kind: str) -> tuple[int, int, int]:
    side = SIDES.get(kind, 16)
    return (3 if kind in COLOUR else 1, side, side)


def zipped(folder: Path, path: Path, top: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, top + file.name)
    return path


def tarred(folder: Path, path: Path, mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        archive.add(folder, "my-model")
    return path


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_saved_answers_as_it_did(kind: str, tmp_path: Path) -> None:
    folder, model = saved(kind, tmp_path / "model")
    teacher = load_teacher(zipped(folder, tmp_path / "t.zip"))
    assert (teacher.architecture, teacher.num_classes) == (f"huggingface:{kind}", 5)
    channels, *_ = shape_of(kind)
    assert (teacher.input.mean, teacher.input.std) == ((0.5,) * channels, (0.25,) * channels)
    assert teacher.input.shape == shape_of(kind)
    x_BCHW = torch.randn(3, *shape_of(kind))
    check_answers(teacher, x_BCHW, answers(kind, model, x_BCHW), tmp_path)
    has_norm = any(isinstance(module, nn.BatchNorm2d) for module in teacher.module.modules())
    assert has_norm == (kind in BATCH_NORM)
    x_BCHW.requires_grad_(True)
    teacher.module(x_BCHW).sum().backward()
    assert x_BCHW.grad is not None


@torch.no_grad()
def check_answers(teacher: LoadedTeacher, x_BCHW: torch.Tensor, expected: torch.Tensor, folder: Path) -> None:
    """The teacher gives these logits, and so it does after the way to another process."""
    assert torch.allclose(teacher.module(x_BCHW), expected, atol=1e-5)
    write_converted(teacher, folder / "c.safetensors")
    again = read_converted(folder / "c.safetensors")
    assert torch.allclose(again.module(x_BCHW), expected, atol=1e-5)


@torch.no_grad()
def answers(kind: str, model: nn.Module, x_BCHW: torch.Tensor) -> torch.Tensor:
    """transformers' own logits."""
    if kind != "siglip2":
        out = model(pixel_values=x_BCHW)
        return out.last_hidden_state if kind == "pp_lcnet" else out.logits
    squares = x_BCHW.unfold(2, 8, 8).unfold(3, 8, 8)  # its processor's, (B, C, rows, columns, 8, 8)
    patches = squares.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    shapes = torch.tensor([[2, 2]] * len(x_BCHW))
    return model(
        pixel_values=patches, spatial_shapes=shapes, pixel_attention_mask=torch.ones(len(x_BCHW), 4)
    ).logits


@pytest.mark.parametrize("class_name", OTHER_CLASSES)
def test_the_class_that_a_folder_names(class_name: str, tmp_path: Path) -> None:
    kind = class_name.partition("For")[0].lower()
    folder, model = saved(kind, tmp_path / "model", class_name)
    teacher = load_teacher(zipped(folder, tmp_path / "t.zip"))
    x_BCHW = torch.randn(2, *shape_of(kind))
    check_answers(teacher, x_BCHW, answers(kind, model, x_BCHW), tmp_path)


@pytest.mark.parametrize("how", ["zip", "zip in a folder", "tar", "tar.gz", "sharded"])
def test_every_way_to_pack_a_folder(how: str, tmp_path: Path) -> None:
    options = {"max_shard_size": "8KB"} if how == "sharded" else {}
    folder, model = saved("vit", tmp_path / "model", **options)
    assert (folder / "model.safetensors.index.json").exists() == (how == "sharded")
    path = {
        "zip": lambda: zipped(folder, tmp_path / "t"),
        "zip in a folder": lambda: zipped(folder, tmp_path / "t", "vit-tiny/"),
        "tar": lambda: tarred(folder, tmp_path / "t"),
        "tar.gz": lambda: tarred(folder, tmp_path / "t", "w:gz"),
        "sharded": lambda: zipped(folder, tmp_path / "t"),
    }[how]()
    x_BCHW = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(load_teacher(path).module(x_BCHW), model(pixel_values=x_BCHW).logits, atol=1e-5)
    assert not (tmp_path / "shard.safetensors").exists()


APPLE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(40)
PACKINGS: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "Finder": lambda files: {
        **under("m/", files), "__MACOSX/._m": APPLE, **under("__MACOSX/m/._", dict.fromkeys(files, APPLE)),
    },
    "macOS's tar": lambda files: {
        "._m": APPLE, **under("m/", files), **under("m/._", dict.fromkeys(files, APPLE)),
    },
    "files of a system": lambda files: {**under("m/", files), ".DS_Store": b"x", "m/Thumbs.db": b"x"},
    "a file beside": lambda files: {**under("m/", files), "README.md": b"x"},
    "three folders deep": lambda files: under("a/b/m/", files),
    "checkpoints inside": lambda files: {**files, **under("step-5/", files), **under("step-9/", files)},
}  # fmt: skip


def under(prefix: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {prefix + name: content for name, content in files.items()}


def packed(files: dict[str, bytes], path: Path, how: str) -> Path:
    if how == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("how", ["zip", "tar.gz"])
def test_archives_as_people_make_them(how: str, tmp_path: Path) -> None:
    folder, model = saved("resnet", tmp_path / "model")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    x_BCHW = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        expected = model(pixel_values=x_BCHW).logits
        for name, packing in PACKINGS.items():
            teacher = load_teacher(packed(packing(files), tmp_path / "t", how))
            assert torch.allclose(teacher.module(x_BCHW), expected, atol=1e-5), name


@pytest.mark.parametrize("how", ["zip", "tar.gz"])
def test_two_models_in_one_archive(how: str, tmp_path: Path) -> None:
    files = {"a/config.json": b"{}", "b/config.json": b"{}"}
    with pytest.raises(TeacherRejected, match="a/, b/") as refused:
        load_teacher(packed(files, tmp_path / "t", how))
    assert refused.value.code == "several_models"


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({"config.json": b'{"class_name": "Sequential", "module": "keras"}'}, "unsupported_format", "ONNX"),
        ({"config.json": b"{}"}, "unsupported_architecture", "model_type"),
        ({"m/w.pth": b"x", "__MACOSX/m/._w.pth": b"x"}, "unsupported_format", "contains w.pth"),
        ({"notes.txt": b"x"}, "unsupported_format", "no folder with a config.json"),
    ],
)  # fmt: skip
def test_other_archives_are_called_what_they_are(
    files: dict[str, bytes], code: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(TeacherRejected, match=words) as refused:
        load_teacher(packed(files, tmp_path / "t.zip", "zip"))
    assert refused.value.code == code


def test_a_file_that_gzip_compressed(tmp_path: Path) -> None:
    (tmp_path / "t.pt.gz").write_bytes(gzip.compress(b"weights" * 1000))
    with pytest.raises(TeacherRejected, match="Unpack it") as refused:
        load_teacher(tmp_path / "t.pt.gz")
    assert refused.value.code == "compressed_archive"


def changed(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        files["config.json"] = json.dumps({**json.loads(files["config.json"]), **changes}).encode()

    return change


def without_weights(files: dict[str, bytes]) -> None:
    del files["model.safetensors"]


def pickled_weights(files: dict[str, bytes]) -> None:
    del files["model.safetensors"]
    files["pytorch_model.bin"] = b"\x80\x04evil"


def other_weights(files: dict[str, bytes]) -> None:
    files["model.safetensors"] = save({"a": torch.zeros(2)})


def shards_elsewhere(files: dict[str, bytes]) -> None:
    del files["model.safetensors"]
    files["model.safetensors.index.json"] = b'{"weight_map": {"a": "../../etc/passwd"}}'


def set_to(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.__setitem__(name, content)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        (changed(auto_map={"AutoModel": "x.Y"}), "remote_code_refused", "auto_map"),
        (changed(model_type="llama"), "unsupported_architecture", "model_type"),
        (
            changed(model_type="detr", architectures=["XForObjectDetection"]),
            "unsupported_architecture",
            "model_type",
        ),
        (changed(model_type="imagegpt"), "unsupported_architecture", "model_type"),
        (changed(model_type="clip"), "structure_limit", "vision_config"),
        (changed(model_type="clip", vision_config={"hidden_size": 10**7}), "structure_limit", "hidden_size"),
        (
            changed(model_type="clip", vision_config={**VIT, "hidden_size": 9000}),
            "architecture_mismatch",
            "weights",
        ),
        (changed(model_type=["vit"]), "unsupported_architecture", "model_type"),
        (changed(quantization_config={"bits": 4}), "tensor_layout", "quantization_config"),
        (changed(hidden_size=10**7), "structure_limit", "hidden_size"),
        (changed(hidden_size=65_536), "architecture_mismatch", "weights"),
        (changed(num_hidden_layers=60_000), "structure_limit", "num_hidden_layers"),
        (changed(hidden_size="wide"), "architecture_mismatch", "config"),
        (changed(hidden_act="x" * 300), "structure_limit", "hidden_act"),
        (changed(hidden_act="os.system"), "architecture_mismatch", "config"),
        (changed(id2label={str(i): "x" for i in range(7)}), "architecture_mismatch", "weights"),
        (changed(id2label={"0": "one"}), "architecture_mismatch", "weights"),
        (changed(id2label=None, num_labels=0), "corrupt_file", "id2label"),
        (changed(patch_size=0), "architecture_mismatch", "config"),
        (set_to("config.json", b"{" * 50_000), "corrupt_file", "config.json"),
        (set_to("config.json", b"[]"), "corrupt_file", "config.json"),
        (set_to("config.json", b'{"a": "' + b"x" * (17 * 2**20)), "structure_limit", None),
        (set_to("preprocessor_config.json", b'{"size": 100000}'), "input_required", "input"),
        (
            set_to("preprocessor_config.json", b'{"image_mean": "a", "image_std": 1}'),
            "input_required",
            "input",
        ),
        (set_to("model.safetensors", b"junk"), "corrupt_file", None),
        (without_weights, "unsupported_format", "model.safetensors"),
        (pickled_weights, "unsafe_pickle", None),
        (other_weights, "architecture_mismatch", "weights"),
        (shards_elsewhere, "corrupt_file", "model.safetensors.index.json"),
    ],
)
def test_what_is_wrong_is_named(
    change: Callable[[dict[str, bytes]], None], code: str, param: str | None, tmp_path: Path
) -> None:
    folder, _ = saved("vit", tmp_path / "model")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    change(files)
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(tmp_path / "t.zip")
    assert (refused.value.code, refused.value.param) == (code, param), refused.value.message


def test_members_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("../up.safetensors", "/abs.safetensors")):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            archive.writestr("config.json", "{}")
            archive.writestr(name, b"x")
        with pytest.raises(TeacherRejected) as refused:
            load_teacher(tmp_path / f"{number}.zip")
        assert refused.value.code == "unsafe_archive"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("model.safetensors")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (tmp_path / "l.tar").write_bytes(buffer.getvalue())
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(tmp_path / "l.tar")
    assert refused.value.code == "unsafe_archive"


@pytest.mark.parametrize("mode", ["zip", "w:gz"])
def test_a_bomb_is_not_unpacked(mode: Any, tmp_path: Path) -> None:
    folder, _ = saved("vit", tmp_path / "model")
    (folder / "model.safetensors").write_bytes(bytes(80 * 2**20))
    path = zipped(folder, tmp_path / "t") if mode == "zip" else tarred(folder, tmp_path / "t", mode)
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(path)
    assert refused.value.code == "structure_limit"
