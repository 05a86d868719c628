"""A ResNet-18 of torchvision to a MobileNetV3 of torchvision, through the page and through the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from testing.running_service import clean_environment
from tests.e2e.page.conftest import Service, browser, faults, page, service, shot  # noqa: F401

if TYPE_CHECKING:
    from playwright.sync_api import Page

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed (make test-vision)")
pytestmark = pytest.mark.timeout(400)  # two jobs of 64 pixels on what may be one slow processor
STUDENT, CLASSES = "torchvision:mobilenet_v3_small", 10
SMALL = {"batch_size": 4, "student_steps": 1, "generator_width": 4, "latent_dim": 8}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "resnet18.pth"
    torch.save(torchvision.models.resnet18(num_classes=CLASSES).state_dict(), path)
    return path


def require_loads(student: Path) -> None:
    network = torchvision.models.mobilenet_v3_small(num_classes=CLASSES)
    network.load_state_dict(load_file(student), strict=True)
    with torch.no_grad():
        assert bool(torch.isfinite(network.eval()(torch.randn(2, 3, 64, 64))).all())


def test_through_the_page(
    service: Service,  # noqa: F811
    page: Page,  # noqa: F811
    faults: list[str],  # noqa: F811
    teacher: Path,
    tmp_path: Path,
) -> None:
    page.goto("/ui/new")
    page.fill("#input", "3x64x64")
    page.set_input_files("#file", teacher)
    page.wait_for_selector("form#job")
    assert "torchvision:resnet18" in page.inner_text("#inspection")
    assert " ms an image" in page.inner_text("#inspection")
    shot(page, "resnet18", tmp_path)
    page.get_by_label("By name").check()
    page.select_option("[name=architecture]", STUDENT)
    page.locator("details:has([name=method]) summary").click()
    page.check("[name=method][value=noise]")  # a step of the default takes a minute here
    page.fill("[name=steps]", "1")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/ui/jobs/job_*")
    page.wait_for_selector(".state.succeeded", timeout=300_000)
    shot(page, "mobilenet", tmp_path)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the student").click()
    require_loads(Path(download.value.path()))
    assert faults == []


def test_through_the_command(service: Service, teacher: Path, tmp_path: Path) -> None:  # noqa: F811
    def dfad(*arguments: str) -> Any:
        command = [sys.executable, "-m", "dfad_client", *arguments, "--url", service.url, "--json"]
        done = subprocess.run(
            command, env=clean_environment(), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    (tmp_path / "spec.json").write_text(json.dumps({"training": SMALL}))
    how = ("--student", STUDENT, "--input", "3x64x64", "--steps", "2", "--spec", "spec.json", "--wait")
    job = dfad("submit", str(teacher), *how)
    assert job["status"] == "succeeded"
    dfad("download", job["id"], "--output", "student.safetensors")
    require_loads(tmp_path / "student.safetensors")
    dfad("download", job["id"], "--kind", "report", "--output", "report.html")
    report = (tmp_path / "report.html").read_text()
    assert "torchvision.models.get_model(" in report
    assert "load_state_dict(" in report
