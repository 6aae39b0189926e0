"""URLs of the REST API: ``path("api/", include("user_workflows.urls"))``."""

from rest_framework.routers import SimpleRouter

from .views import ArtifactViewSet, StatusViewSet

ROUTER = SimpleRouter()
ROUTER.register("artifacts", ArtifactViewSet, basename="usertaskartifact")
ROUTER.register("tasks", StatusViewSet, basename="usertaskstatus")

urlpatterns = ROUTER.urls
