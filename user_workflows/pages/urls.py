"""The pages' addresses: ``path("tasks/", include("user_workflows.pages.urls"))``."""

from django.urls import path

from . import actions, fragments, views

app_name = "user_workflows"

urlpatterns = [
    path("", views.ListPage.as_view(), name="list"),
    path("changes/", fragments.ListChanges.as_view(), name="list_changes"),
    path("<uuid:uuid>/", views.DetailPage.as_view(), name="detail"),
    path("<uuid:uuid>/changes/", fragments.Changes.as_view(), name="changes"),
    path("<uuid:uuid>/rows/", fragments.Rows.as_view(), name="rows"),
    path("<uuid:uuid>/cancel/", actions.CancelPage.as_view(), name="cancel"),
    path("<uuid:uuid>/delete/", actions.DeletePage.as_view(), name="delete"),
    path("<uuid:uuid>/graph/", views.GraphPage.as_view(), name="graph"),
    path("<uuid:uuid>/artifacts.zip", views.Archive.as_view(), name="archive"),
]
