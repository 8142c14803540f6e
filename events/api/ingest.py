"""What every endpoint that takes events in has in common: the Idempotency-Key header."""

from typing import Any

from django.db import transaction
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.status import is_success

from config.wire import dumps
from events.services.idempotency import Answer, claim_key, keep_answer, request_hash
from workspaces.api.base import WorkspaceAPIView


class IngestView(WorkspaceAPIView):
    """A POST endpoint that records events; a subclass implements `ingest` and raises what it refuses.

    With an Idempotency-Key the claim, the events and the kept answer are one transaction. A refusal leaves no key.
    """

    def ingest(self, request: Request, **kwargs: Any) -> Response:
        """Record what the request holds and return the answer."""
        raise NotImplementedError

    def post(self, request: Request, **kwargs: Any) -> Response | HttpResponse:
        """Answer the request, or give the first answer to it again."""
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return self.ingest(request, **kwargs)
        with transaction.atomic():
            body = dumps(request.data)
            digest = request_hash(request.method or "", request.path, body)
            if (first := claim_key(self.workspace.id, key, digest)) is not None:
                return _replay(first)
            response = self.ingest(request, **kwargs)
            if is_success(response.status_code):
                body = b"" if response.data is None else dumps(response.data)
                keep_answer(self.workspace.id, key, Answer(response.status_code, body))
            else:
                transaction.set_rollback(True)
        return response


def _replay(answer: Answer) -> HttpResponse:
    return HttpResponse(
        answer.body,
        status=answer.status,
        content_type="application/json" if answer.body else None,
        headers={"Idempotent-Replayed": "true"},
    )
