"""Settings, all of them from the environment. Sessions are in the database only; there is no e-mail and no cache server."""

import os
import secrets
from pathlib import Path

import pymysql
from django.core.exceptions import ImproperlyConfigured

from callcentersite.databases import Misconfigured, databases

pymysql.install_as_MySQLdb()

BASE_DIR = Path(__file__).resolve().parent.parent
FRONTEND_DIR = os.environ.get("FRONTEND_DIR", str(BASE_DIR.parent / "frontend" / "dist"))

DEBUG = os.environ.get("DJANGO_DEBUG") == "yes"
# Without one, sessions end when the server does.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or secrets.token_urlsafe(50)
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "127.0.0.1,localhost").split(",")
RELEASE = os.environ.get("APP_RELEASE", "development")

INSTALLED_APPS = ["django.contrib.sessions", "analytics", "ivr"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "callcentersite.urls"
WSGI_APPLICATION = "callcentersite.wsgi.application"
SESSION_ENGINE = "django.contrib.sessions.backends.db"

try:
    DATABASES = databases(os.environ)
except Misconfigured as wrong:
    raise ImproperlyConfigured(str(wrong)) from None
DATABASE_ROUTERS = ["callcentersite.routers.IVRReadOnlyRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "/static/"
if FRONTEND_DIR and Path(FRONTEND_DIR).is_dir():
    WHITENOISE_ROOT = FRONTEND_DIR
    WHITENOISE_INDEX_FILE = True

TIME_ZONE = "UTC"
USE_TZ = True
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = os.environ.get("DJANGO_HTTPS") == "yes"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
