"""The demo user."""

from django.contrib.auth.models import User

NAME = "demo"
PASSWORD = "demo"  # noqa: S105 - shown on the log-in page


def demo_user() -> User:
    """Return the user that the commands submit for; make it if there is none.

    On a site with `DEBUG` anyone can log in as this user with one click.
    """
    user, created = User.objects.get_or_create(
        username=NAME, defaults={"email": "demo@example.com"}
    )
    if created or not user.password:
        user.set_password(PASSWORD)
        user.save()
    return user
