"""The script as collectstatic leaves it."""

from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import call_command
from django.test import override_settings

from test_template_tag import rendered


class LooksIntoModules(ManifestStaticFilesStorage):
    """What projects use who have Django follow the imports of modules."""

    support_js_module_import_aggregation = True


@pytest.mark.parametrize("storage", [ManifestStaticFilesStorage, LooksIntoModules])
def test_the_script_can_be_renamed_by_its_content(storage: type, tmp_path: Path) -> None:
    storages = {"staticfiles": {"BACKEND": f"{storage.__module__}.{storage.__qualname__}"}}
    with override_settings(STORAGES=storages, STATIC_ROOT=tmp_path, COURIER={"EVENTS_URL": "/events"}):
        call_command("collectstatic", interactive=False, verbosity=0)
        (renamed,) = tmp_path.glob("courier_django/events.*.js")
        original = tmp_path / "courier_django" / "events.js"
        assert renamed.read_text() == original.read_text()
        assert f'src="/static/courier_django/{renamed.name}"' in rendered('{% courier_events "a" %}')
