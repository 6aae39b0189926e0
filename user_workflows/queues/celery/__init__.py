"""Everything that knows Celery."""
