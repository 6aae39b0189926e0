"""The site's own pages: logging in, starting workflows, and fetching files."""

import os
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from celery import current_app
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.test import Client

from user_workflows.models import UserTaskArtifact, UserTaskStatus

if not apps.is_installed("courses"):
    pytest.skip("the site's courses app is not in INSTALLED_APPS", allow_module_level=True)

from courses import uploads
from courses.accounts import demo_user
from courses.flows import start_once, transcode_video
from courses.models import Course
from courses.storage import ArtifactStorage

from .samples import ROOT, SAMPLE, write

SITE = ROOT / "example_project"
NIGHT = "course-v1:UserWorkflows+NIGHT101+2025"
SMALL = "course-v1:X+CS101+2025"


@pytest.fixture(autouse=True)
def site(settings, tmp_path, monkeypatch):
    """The site's URLs, templates and storage; workflows are published on commit, so not here."""
    settings.BASE_DIR = SITE
    settings.EXAMPLE_VAR = tmp_path / "var"
    settings.EXAMPLE_PACE = 0
    settings.ROOT_URLCONF = "tests.example.urls"
    settings.LOGIN_URL, settings.LOGIN_REDIRECT_URL = "login", "home"
    settings.LOGOUT_REDIRECT_URL = "login"
    (engine,) = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [SITE / "templates"]}]
    field = UserTaskArtifact._meta.get_field("file")
    monkeypatch.setattr(field, "storage", ArtifactStorage(tmp_path / "media"))


@pytest.fixture
def eager_tasks():
    """Run tasks where they are sent."""
    before = current_app.conf.task_always_eager
    current_app.conf.task_always_eager = True
    yield
    current_app.conf.task_always_eager = before


@pytest.fixture
def ada(db):
    return User.objects.create_user("ada", password="lovelace")


@pytest.fixture
def ben(db):
    return User.objects.create_user("ben", password="mandelbrot")


def browser(user):
    client = Client()
    client.force_login(user)
    return client


def archive(folder, name="course.tar.gz", evil=None):
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        tar.add(folder, "course")
        if evil is not None:
            tar.addfile(tarfile.TarInfo(evil), BytesIO())
    return SimpleUploadedFile(name, content.getvalue())


def started(user):
    return list(UserTaskStatus.objects.roots().for_user(user).order_by("pk"))


def form_error(response):
    """Return the error of the form that was sent, which the page must show."""
    (form,) = [form for form in response.context["forms"] if form.errors]
    ((error, *_),) = form.errors.values()
    assert error in response.content.decode().replace("&#x27;", "'").replace("&quot;", '"')
    return error


# -- logging in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/", "/start/export/", "/files/user_workflows/a.txt"])
def test_anonymous_request_is_redirected_to_the_log_in_page(db, address):
    client = Client()
    for response in (client.get(address), client.post(address)):
        assert response.status_code == 302
        assert response["Location"] == f"/log-in/?next={address}"


def test_user_logs_in_and_out(ada):
    client = Client()
    page = client.post("/log-in/?next=/", {"username": "ada", "password": "wrong"})
    assert "Please enter a correct username and password" in page.content.decode()
    there = client.post("/log-in/?next=/", {"username": "ada", "password": "lovelace"}, follow=True)
    assert there.redirect_chain == [("/", 302)]
    assert there.context["user"] == ada
    assert client.get("/log-out/").status_code == 405  # a link cannot do it
    assert client.post("/log-out/")["Location"] == "/log-in/"
    assert client.get("/").status_code == 302


def test_demo_user_logs_in_with_and_without_password(db, settings):
    settings.DEBUG = True
    client = Client()
    assert "Continue as demo" in client.get("/log-in/").content.decode()
    assert client.post("/log-in/demo/", follow=True).context["user"].username == "demo"
    assert Client().login(username="demo", password="demo")
    assert client.get("/log-in/demo/").status_code == 405


def test_demo_user_without_a_password_gets_one(db):
    User.objects.create(username="demo")
    assert demo_user().check_password("demo")


def test_demo_log_in_without_debug_is_not_found(db, settings):
    settings.DEBUG = False
    client = Client()
    page = client.get("/log-in/").content.decode()
    assert "demo" not in page.replace("/log-in/", "")
    assert client.post("/log-in/demo/").status_code == 404
    assert not User.objects.exists()


# -- starting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "data", "action", "subject", "name"),
    [
        ("export", {"course": NIGHT}, "course.export", NIGHT, "Export Watching the Night Sky"),
        (
            "mail",
            {"course": NIGHT, "text": "Clear skies!"},
            "course.mail",
            NIGHT,
            "Mail the students of Watching the Night Sky",
        ),
        (
            "transcode",
            {"video": "Meteors in August"},
            "video.transcode",
            "Meteors in August",
            "Transcode Meteors in August",
        ),
    ],
)
def test_form_starts_a_workflow_and_redirects_to_its_page(ada, kind, data, action, subject, name):
    response = browser(ada).post(f"/start/{kind}/", data)
    (root,) = started(ada)
    assert (root.action, root.subject, root.name) == (action, subject, name)
    assert response.status_code == 302
    assert response["Location"] == root.get_absolute_url()


def test_uploaded_course_is_imported_and_can_be_exported_by_its_owner_only(
    ada, ben, eager_tasks, tmp_path
):
    client = browser(ada)
    client.post("/start/import/", {"archive": archive(write(tmp_path / "course"))})
    (root,) = started(ada)
    assert (root.phase, root.subject, root.name) == ("SUCCEEDED", SMALL, "Import Small course")
    course = Course.objects.get()
    assert (course.owner, course.key) == (ada, SMALL)
    assert Path(course.source).is_relative_to(tmp_path / "var" / "uploads")

    client.post("/start/export/", {"course": SMALL})
    assert [(root.phase, root.name) for root in started(ada)[1:]] == [
        ("SUCCEEDED", "Export Small course")
    ]
    # Another user cannot choose it, but can import a copy.
    for kind, more in (("export", {}), ("mail", {"text": "?"})):
        response = browser(ben).post(f"/start/{kind}/", {"course": SMALL, **more})
        assert form_error(response).startswith("Select a valid choice")
    assert started(ben) == []
    browser(ben).post("/start/import/", {"archive": archive(tmp_path / "course")})
    assert Course.objects.filter(key=SMALL).count() == 2


def test_upload_of_a_course_with_faults_starts_the_import(ada, tmp_path):
    course = write(tmp_path / "course", html__h1=None)
    response = browser(ada).post("/start/import/", {"archive": archive(course)})
    assert response["Location"] == started(ada)[0].get_absolute_url()


@pytest.mark.parametrize(
    ("upload", "message"),
    [
        (None, "This field is required."),
        (lambda _: SimpleUploadedFile("a.tar.gz", b""), "The submitted file is empty."),
        (
            lambda _: SimpleUploadedFile("notes <b>.zip", b"PK\3\4"),
            "'notes_b_.zip' is not a .tar.gz archive, or is damaged.",
        ),
        (
            lambda folder: archive(write(folder / "course", course=None)),
            "There is no course.xml in 'course.tar.gz': this is not an OLX course.",
        ),
        (
            lambda folder: archive(write(folder / "course"), evil="../evil"),
            "The archive is unsafe: '../evil' points outside of it.",
        ),
        (
            lambda folder: archive(
                write(folder / "course", course=f'<course org="{"x" * 300}" course="a"/>')
            ),
            "The course's key has more than 255 letters.",
        ),
    ],
)
def test_upload_that_is_no_course_is_refused_with_a_reason(ada, tmp_path, upload, message):
    data = {"archive": upload(tmp_path)} if upload else {}
    response = browser(ada).post("/start/import/", data)
    assert response.status_code == 200
    assert form_error(response) == message
    assert started(ada) == []
    assert list((tmp_path / "var").rglob("*.*")) == []


def test_upload_that_is_too_large_is_not_stored(ada, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "LIMIT", 2 * 1024 * 1024)
    upload = SimpleUploadedFile("a.tar.gz", bytes(3 * 1024 * 1024))
    response = browser(ada).post("/start/import/", {"archive": upload})
    assert form_error(response) == "The archive has 3.0\xa0MB; the limit is 2\xa0MB."
    assert not (tmp_path / "var").exists()


def test_invalid_field_has_the_focus(ada):
    response = browser(ada).post("/start/mail/", {"course": NIGHT, "text": ""})
    page = response.content.decode()
    assert form_error(response) == "This field is required."
    assert page.count("autofocus") == 1
    assert "<title>Please check" in page


def test_start_with_an_unknown_form_is_not_found_and_get_redirects(ada):
    client = browser(ada)
    assert client.post("/start/everything/").status_code == 404
    # The redirect after logging in, for a form sent after the session had ended.
    assert client.get("/start/export/")["Location"] == "/"


def test_start_without_csrf_token_is_forbidden(ada, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    assert client.post("/start/export/", {"course": NIGHT}).status_code == 403
    assert started(ada) == []


# -- only once -------------------------------------------------------------------------------------


def test_second_click_redirects_to_the_running_workflow(ada, ben):
    client = browser(ada)
    first = client.post("/start/export/", {"course": NIGHT})
    again = client.post("/start/export/", {"course": NIGHT})
    (root,) = started(ada)
    assert first["Location"] == again["Location"] == root.get_absolute_url()
    assert [str(message) for message in again.wsgi_request._messages] == [
        "“Export Watching the Night Sky” is already running. This is its page."
    ]

    # Another action, another subject and another user are something else ...
    client.post("/start/mail/", {"course": NIGHT, "text": "Clear skies!"})
    for video in ("Meteors in August", "A tour of the Moon"):
        client.post("/start/transcode/", {"video": video})
    browser(ben).post("/start/export/", {"course": NIGHT})
    assert (len(started(ada)), len(started(ben))) == (4, 1)

    # ... and so is the next one, when the first has ended.
    root.cancel()
    client.post("/start/export/", {"course": NIGHT})
    assert len(started(ada)) == 5


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_simultaneous_clicks_start_one_workflow():
    user = User.objects.create_user("ada")

    def click(_):
        try:
            with transaction.atomic():
                status, is_new = start_once(transcode_video("A night in May", 10, user))
                time.sleep(0.05)  # so that the others wait for the lock
            return status.pk, is_new
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(click, range(4)))
    assert len({pk for pk, _ in found}) == len(started(user)) == 1
    assert sorted(is_new for _, is_new in found) == [False, False, False, True]


# -- files -----------------------------------------------------------------------------------------


@pytest.fixture
def file(ada):
    """The file of an artifact of Ada's."""
    root = transcode_video("A night in May", 10, ada).delay()
    content = ContentFile(b"<script>", name="notes.html")
    return root.add_artifact("Notes", file=content, content_type="text/html").file


def test_file_is_served_to_its_owner_only(ada, ben, file):
    assert file.url == f"/files/{file.name}"
    response = browser(ada).get(file.url)
    assert b"".join(response.streaming_content) == b"<script>"
    assert browser(ben).get(file.url).status_code == 404
    assert Client().get(file.url)["Location"].startswith("/log-in/")


def test_file_is_served_to_staff_with_permission(ben, file):
    ben.is_staff = True
    ben.save()
    assert browser(ben).get(file.url).status_code == 404
    ben.user_permissions.add(Permission.objects.get(codename="view_usertaskartifact"))
    assert browser(ben).get(file.url).status_code == 200


def test_file_is_served_as_an_attachment(ada, file):
    response = browser(ada).get(file.url)
    assert response["Content-Type"] == "text/html"
    assert response["Content-Disposition"] == f'attachment; filename="{Path(file.name).name}"'


def test_file_that_is_no_artifact_or_is_deleted_is_not_found(ada, file, tmp_path):
    (tmp_path / "media" / "secret").write_text("secret")
    client = browser(ada)
    for name in ("secret", "../secret", "user_workflows/../secret", "%2e%2e/secret"):
        assert client.get(f"/files/{name}").status_code == 404
    file.storage.delete(file.name)
    assert client.get(file.url).status_code == 404


# -- the home page ---------------------------------------------------------------------------------


def test_home_page_shows_the_latest_workflows_of_its_user(ada, ben):
    for number in range(7):
        transcode_video(f"Night {number}", 10, ada).delay()
    transcode_video("Somebody else's", 10, ben).delay()
    page = browser(ada).get("/").content.decode()
    assert [number for number in range(7) if f"Transcode Night {number}" in page] == [2, 3, 4, 5, 6]
    assert "Somebody else" not in page
    assert "Nothing yet" not in page


def test_home_page_of_a_new_user_has_forms_and_a_hint(ada):
    response = browser(ada).get("/")
    assert "Nothing yet" in response.content.decode()
    assert [form.kind for form in response.context["forms"]] == [
        "export", "import", "mail", "transcode",
    ]  # fmt: skip


def test_home_page_escapes_names(ada, tmp_path):
    Course.objects.create(owner=ada, key="k", title="<b>Bold</b>", source=str(tmp_path))
    ada.username = "<i>ada</i>"
    ada.save()
    transcode_video("<script>alert(1)</script>", 10, ada).delay()
    page = browser(ada).get("/").content.decode()
    assert not any(tag in page for tag in ("<b>", "<i>", "<script>alert"))
    assert "&lt;b&gt;Bold&lt;/b&gt;" in page and "&lt;i&gt;ada&lt;/i&gt;" in page


# -- uploads ---------------------------------------------------------------------------------------


def test_old_uploads_without_a_course_are_deleted(ada):
    kept, course, orphan = (
        uploads.store(SimpleUploadedFile(f"{name}.tar.gz", b"x")) for name in "abc"
    )
    Course.objects.create(owner=ada, key="k", title="K", source=str(course))
    for path in (course, orphan):
        os.utime(path.parent, (0, time.time() - uploads.MAX_AGE - 60))
    uploads.delete_old()
    assert (kept.exists(), course.exists(), orphan.exists()) == (True, True, False)


@pytest.mark.parametrize("name", ["../../evil.tar.gz", "..", ".", "a/b\\c.tar.gz", "*", "x" * 300])
def test_upload_with_an_unsafe_name_stays_in_its_folder(db, tmp_path, name):
    upload = SimpleUploadedFile("x", b"x")
    upload._name = name
    path = uploads.store(upload)
    assert path.parent.parent == tmp_path / "var" / "uploads"
    assert path.resolve() == path


def test_imported_copy_replaces_the_academys_course_for_its_owner(ada, ben, tmp_path):
    Course.objects.create(owner=ada, key=NIGHT, title="My night sky", source=str(SAMPLE))
    choices = dict(browser(ada).get("/").context["forms"][0].fields["course"].choices)
    assert choices == {NIGHT: "My night sky"}
    choices = dict(browser(ben).get("/").context["forms"][0].fields["course"].choices)
    assert choices == {NIGHT: "Watching the Night Sky"}
