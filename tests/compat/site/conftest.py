"""A stand-in for private helpers that ``test_signals`` imports and only skipped tests call."""

import os
import sys
from importlib.util import find_spec
from types import ModuleType

UTILS = f"{os.environ['COMPAT_PACKAGE']}.utils"

if find_spec(UTILS) is None:
    helpers = ModuleType(UTILS)
    for name in ("extract_proto2_embed", "extract_proto2_headers", "proto2_to_proto1"):
        setattr(helpers, name, None)
    sys.modules[UTILS] = helpers
