"""Read the Idempotency-Key of a request, and answer a repeated request as the first (`settings.ANSWER_ONCE`)."""

from collections.abc import Callable, Sequence
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.status import is_success

from config.errors import DomainError
from config.http.rendering import dumps
from events.stream.idempotency import Answer, Claim, claim_keys, release_keys, request_hash, store_answers
from workspaces.access import Credential

_REFUSALS = (DomainError, APIException, Http404, PermissionDenied)


def respond_once(
    request: Request,
    workspace_id: UUID,
    key: str,
    act: Callable[[], HttpResponseBase],
    *,
    secrets: Sequence[str] = (),
) -> HttpResponseBase:
    """Return what `act` answers, or what it answered to the same request under the key before.

    The claim, what `act` writes and the kept answer are one transaction. A refusal leaves no key, and what `act`
    wrote about it as it would without one. `secrets`: fields of the answer that are kept as null.
    """
    refusal: Exception
    claim = claim_from_request(request, key)
    with transaction.atomic():
        first = claim_keys(workspace_id, [claim]).get(key)
        if isinstance(first, Exception):
            raise first
        if first is not None:
            return http_answer(first)
        try:
            response = act()
        except _REFUSALS as error:
            if transaction.get_connection().needs_rollback:
                raise
            release_keys(workspace_id, [key])
            refusal = error
        else:
            if is_success(response.status_code):
                store_answers(workspace_id, {key: Answer(response.status_code, _kept(response, secrets))})
            else:
                release_keys(workspace_id, [key])
            return response
    raise refusal


def claim_from_request(request: Request, key: str) -> Claim:
    """Return the claim of a request on its key. Raises InvalidIdempotencyKey."""
    digest = request_hash(request.method or "", request.path, dumps(request.data), _readable_by(request.auth))
    return Claim(key, digest)


def http_answer(answer: Answer) -> HttpResponse:
    """Return an answer as it goes out; one that was given before says so."""
    response = HttpResponse(answer.body, status=answer.status, content_type="application/json")
    if not answer.body:
        del response.headers["Content-Type"]
    if answer.is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _readable_by(credential: object) -> str:
    """Return what decides how much an answer shows: another credential gets only what it may read itself."""
    scopes = credential.scopes if isinstance(credential, Credential) else frozenset()
    return " ".join(sorted(scope for scope in scopes if scope.endswith(":read")))


def _kept(response: HttpResponseBase, secrets: Sequence[str]) -> bytes:
    if not isinstance(response, Response) or response.data is None:
        return b""
    data = response.data
    return dumps({**data, **dict.fromkeys(secrets)} if secrets else data)
