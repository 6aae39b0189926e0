"""The status pages: the list of a user's workflows, one workflow, and actions on it.

``path("tasks/", include("user_workflows.pages.urls"))`` is all that a site needs.
"""
