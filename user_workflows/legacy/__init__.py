"""Legacy records of django-user-tasks, and their import."""
