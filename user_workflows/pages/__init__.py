"""The status pages: templates of our own, views that serve them, and what the views show.

``path("tasks/", include("user_workflows.pages.urls"))`` is all that a site needs.
"""
