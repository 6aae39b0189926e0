"""What django-user-tasks has stored, and copying it."""
