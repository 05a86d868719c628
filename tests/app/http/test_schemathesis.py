"""Requests made up from the description itself, valid and not: no answer may break what it says.

Left out: that every request which fits the description is taken. JSON Schema cannot say which fields go
together, e.g. a student and the size of its input; those are refused with 422, as the other tests hold.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
ABOUT = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=QUIET,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture
def operations(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Every operation of the service's description, with the service behind it."""
    from app.main import create_app

    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app())
    return (found.ok() for found in schema.get_all_operations())


@pytest.mark.timeout(170)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_answer_breaks_the_description(operations: Any, mode: GenerationMode) -> None:
    tried, broken = 0, []
    for operation in operations:
        if operation.path == "/readyz":  # 503 is its answer here, without any worker
            continue

        @ABOUT
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        try:
            ask()
        except Unsatisfiable:  # nothing can be wrong with a request that takes nothing
            assert mode is GenerationMode.NEGATIVE, operation.label
            continue
        except FailureGroup as error:
            broken.append(f"{operation.label}: {error}")
        tried += 1
    assert not broken, "\n\n".join(broken)
    assert tried > 25
