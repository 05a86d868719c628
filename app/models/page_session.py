"""People who are signed in on the page."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime


class PageSession(Base):
    """A browser in which somebody signed in through the sign-in provider. Never updated."""

    __tablename__ = "page_sessions"
    __table_args__ = (Index("ix_page_sessions_expires_at", "expires_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    #: HMAC-SHA256 of the cookie's secret under the server's pepper, hexadecimal.
    digest: Mapped[str] = mapped_column(String(64))
    #: The provider; another one's sessions open nothing.
    issuer: Mapped[str] = mapped_column(Text)
    #: What it knows the person by, for good.
    subject: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(128))
    #: As the provider named them at the sign-in. What they allow is looked up at every request.
    groups: Mapped[list[str]] = mapped_column(JSON)
    #: With which the provider is told who signs out. It opens nothing here.
    id_token: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
