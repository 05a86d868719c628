"""Guards: dashboard, alerts and the operations guide name figures that exist, and all that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.telemetry import counters

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = ROOT / "deploy" / "grafana" / "dfad.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
NAME = re.compile(r"\bdfad_[a-z_]+\b")
PARTS = ("_bucket", "_sum", "_count")


@pytest.fixture
def told(database: str) -> dict[str, Any]:
    """Families of a service that has done nothing but answer a request, by the names that queries use."""
    from app.main import create_app

    with TestClient(create_app()) as client:
        client.get("/jobs")
        families = text_string_to_metric_families(client.get("/metrics").text)
    return {f.name + ("_total" if f.type == "counter" else ""): f for f in families}


def family_of(name: str, told: dict[str, Any]) -> str:
    """The family that a name in a query is a part of."""
    for part in PARTS:
        base = name.removesuffix(part)
        if base != name and base in told and told[base].type == "histogram":
            return base
    return name


def expressions() -> list[str]:
    """Of all panels."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def named(texts: list[str], told: dict[str, Any]) -> set[str]:
    return {family_of(name, told) for text in texts for name in NAME.findall(text)}


def test_the_dashboard_shows_every_figure_and_no_other(told: dict[str, Any]) -> None:
    assert named(expressions(), told) == set(told)


def test_alerts_are_about_figures_that_exist(told: dict[str, Any]) -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert named([rule["expr"] for rule in rules], told) <= set(told)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} <= set(rule["annotations"])
    assert len({rule["alert"] for rule in rules}) == len(rules)


def test_the_guide_explains_every_figure_and_no_other(told: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    table = "\n".join(re.findall(r"^\|.*\|$", text.partition("## What to watch")[2], re.MULTILINE))
    assert named([table], told) == set(told)
    assert named([text], told) <= set(told)


def test_names_units_and_kinds_are_as_prometheus_wants_them(told: dict[str, Any]) -> None:
    for name, family in told.items():
        assert family.type in ("gauge", "counter", "histogram"), name
        assert family.documentation.endswith("."), name
        assert re.fullmatch(r"dfad_[a-z]+(_[a-z]+)*", name)
        assert not name.endswith(("_ms", "_mib", "_percent")), name
    for name, family in counters.FAMILIES.items():
        assert name.endswith("_seconds") == bool(family.buckets)


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert {"title", "uid", "schemaVersion", "panels", "templating"} <= set(board)
    assert board["templating"]["list"][0]["type"] == "datasource"
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, f"{panel['title']} lies on another"
        assert place["x"] + place["w"] <= 24
        cells |= own
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
            assert target["expr"].count("(") == target["expr"].count(")")
