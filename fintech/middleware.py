"""What a browser may do with our pages."""

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.http import HttpRequest, HttpResponse


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """django-csp, with a few exceptions below the paths that need them; all else stays strict."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        for path, exceptions in settings.CONTENT_SECURITY_POLICY_EXCEPTIONS.items():
            if request.path.startswith(path):
                response._csp_update = exceptions  # type: ignore[attr-defined]
        return super().process_response(request, response)
