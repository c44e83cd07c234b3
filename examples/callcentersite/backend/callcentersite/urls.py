"""The few addresses of the site. The page itself is a static file."""

from analytics.views import summary
from django.conf import settings
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET

from callcentersite.health import report


@require_GET
def healthz(_request):
    """The process is alive; says nothing about databases."""
    return JsonResponse({"ok": True, "release": settings.RELEASE})


@require_GET
def health(_request):
    """The site can do its work: 200 if both databases answer, else 503."""
    found = {**report(), "release": settings.RELEASE}
    return JsonResponse(found, status=200 if found["ok"] else 503)


@require_GET
def session_check(request):
    """A session is written to the database and found again with the next request."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"ok": True, "visits": request.session["visits"]})


urlpatterns = [
    path("healthz", healthz),
    path("api/health", health),
    path("api/session-check", session_check),
    path("api/summary", summary),
]
