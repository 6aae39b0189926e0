"""The URLs of the site's own pages."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("start/<slug:kind>/", views.start, name="start"),
    path("files/<path:name>", views.artifact, name="artifact"),
    path("log-in/", views.LogIn.as_view(), name="login"),
    path("log-in/demo/", views.continue_as_demo, name="continue_as_demo"),
    path("log-out/", LogoutView.as_view(), name="logout"),
]
