"""Moving from django-user-tasks: with it installed beside this app."""
