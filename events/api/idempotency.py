"""Idempotency-Key on requests: the first answer to one, given again (`settings.ANSWER_ONCE`)."""

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
from config.wire import dumps
from events.services.idempotency import Answer, claim_key, keep_answer, release_key, request_hash

_REFUSALS = (DomainError, APIException, Http404, PermissionDenied)


def answer_once(
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
    digest = request_hash(request.method or "", request.path, dumps(request.data))
    with transaction.atomic():
        if (first := claim_key(workspace_id, key, digest)) is not None:
            return _replay(first)
        try:
            response = act()
        except _REFUSALS as error:
            if transaction.get_connection().needs_rollback:
                raise
            release_key(workspace_id, key)
            refusal = error
        else:
            if is_success(response.status_code):
                keep_answer(workspace_id, key, Answer(response.status_code, _kept(response, secrets)))
            else:
                release_key(workspace_id, key)
            return response
    raise refusal


def _kept(response: HttpResponseBase, secrets: Sequence[str]) -> bytes:
    if not isinstance(response, Response) or response.data is None:
        return b""
    data = response.data
    return dumps({**data, **dict.fromkeys(secrets)} if secrets else data)


def _replay(answer: Answer) -> HttpResponse:
    return HttpResponse(
        answer.body,
        status=answer.status,
        content_type="application/json" if answer.body else None,
        headers={"Idempotent-Replayed": "true"},
    )
