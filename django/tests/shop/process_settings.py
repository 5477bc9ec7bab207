"""The project in a process of its own: its test says by a variable what ``COURIER`` is."""

import json
import os

from .settings import *  # noqa: F403

COURIER = json.loads(os.environ["SHOP_COURIER"])
