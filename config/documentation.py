"""The OpenAPI document and the page to browse it, both served without any other site."""

from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView


class DocumentView(SpectacularAPIView):
    """The document, as JSON, for everybody."""

    authentication_classes = ()
    permission_classes = ()
    renderer_classes = [OpenApiJsonRenderer]


class DocumentationView(SpectacularSwaggerView):
    """Swagger UI over the document."""

    authentication_classes = ()
    permission_classes = ()
    url_name = "openapi"
