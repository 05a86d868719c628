"""What the service refuses, with stable codes. The HTTP edge turns these into problem+json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldProblem:
    """One fault in a body: a JSON Pointer and what is wrong there."""

    pointer: str
    detail: str


class ServiceError(Exception):
    """Base: an HTTP status, a stable snake_case code and a sentence for people."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: tuple[FieldProblem, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})


class NotFound(ServiceError):
    """The thing does not exist, or belongs to another tenant: nobody can tell which."""

    def __init__(self, what: str) -> None:
        super().__init__(404, "not_found", f"No such {what}.")


class InvalidBody(ServiceError):
    """A body, part or query that breaks the contract."""

    def __init__(self, detail: str, *errors: FieldProblem, code: str = "invalid_request") -> None:
        super().__init__(422, code, detail, errors=errors)


class InvalidTransition(ServiceError):
    """The job cannot do that from where it is."""

    def __init__(self, status: str, wanted: str) -> None:
        super().__init__(409, "invalid_transition", f"The job is {status}; it cannot be {wanted}.")
