"""A chat on one machine, for trying out. What is about courier stands at the end."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
PORT = os.environ.get("CHAT_PORT", "8000")
EVENTS_PORT = os.environ.get("CHAT_EVENTS_PORT", "8080")
BROKER_PORT = os.environ.get("CHAT_BROKER_PORT", "6380")
ADMIN_PORT = os.environ.get("CHAT_ADMIN_PORT", "8081")

SECRET_KEY = "of an example that nobody but this machine can reach"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "chat.urls"
WSGI_APPLICATION = None
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "rooms"
LOGOUT_REDIRECT_URL = "login"

INSTALLED_APPS = [
    "courier_django",
    "chat",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "courier_django.middleware.CourierMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("CHAT_DATABASE", BASE_DIR / "chat.sqlite3")}
}

COURIER = {
    # courier's own broker in place of a Redis, so that there is nothing else to install.
    "BROKER": f"127.0.0.1:{BROKER_PORT}",
    "PAYLOAD": "envelope",
    "DJANGO_URL": f"http://127.0.0.1:{PORT}",
    "EVENTS_URL": f"http://127.0.0.1:{EVENTS_PORT}/events",
    "LISTEN": f"127.0.0.1:{EVENTS_PORT}",
    "ADMIN": f"127.0.0.1:{ADMIN_PORT}",
    # What was said is kept in courier's memory for a day, and nowhere else.
    "CHANNELS": [
        {"match": "chat.*", "access": "callback", "history": {"count": 200, "bytes": "1MiB", "age": "24h"}},
    ],
}
