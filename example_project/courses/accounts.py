"""The user of the demonstration."""

from django.contrib.auth.models import User

NAME = "demo"
PASSWORD = "demo"  # noqa: S105 - it is on the log-in page


def demo_user() -> User:
    """Who owns what is started from the command line, and who can log in with one click."""
    user, created = User.objects.get_or_create(
        username=NAME, defaults={"email": "demo@example.com"}
    )
    if created or not user.password:
        user.set_password(PASSWORD)
        user.save()
    return user
