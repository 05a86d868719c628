"""What a worker gets for bytes that it brought: the only way to have a row written for them.

A receipt is signed, and names the claim. So the server keeps nothing of bytes that nobody owns yet, no worker
names a file that it did not bring, and what it brought for one claim is of no use for another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json

from app.access.keys.tokens import pepper
from app.leases.files import StoredFile
from app.platform.errors import FieldProblem, InvalidBody
from dfad_core.contract.serialization import from_json, to_json


def receipt_of(file: StoredFile, held: str) -> str:
    """A receipt for `file`, brought for the claim that `held` names."""
    body = base64.urlsafe_b64encode(json.dumps(to_json(file), sort_keys=True).encode())
    return f"{body.decode()}.{_signature(body, held)}"


def received(receipt: str, held: str, *roles: str) -> StoredFile:
    """The file of a receipt. Raises InvalidBody for none of ours, and for another claim or role."""
    body, _, signature = receipt.partition(".")
    if hmac.compare_digest(signature.encode(), _signature(body.encode(), held).encode()):
        try:
            file = from_json(StoredFile, json.loads(base64.urlsafe_b64decode(body)))
            if not roles or file.role in roles:
                return file
        except (ValueError, binascii.Error):  # signed by us, so it cannot be
            pass
    raise InvalidBody("The file was not brought for this claim.", FieldProblem("/receipt", "not ours"))


def _signature(body: bytes, held: str) -> str:
    return hmac.new(pepper(), b"receipt\0" + held.encode() + b"\0" + body, hashlib.sha256).hexdigest()
