"""The icon that goes with each phase."""

from __future__ import annotations

from django.utils.safestring import mark_safe

from ..diagram.svg import SIGNS

#: Icons, hidden from screen readers.
ICONS = {
    phase: mark_safe(  # noqa: S308 - made of constants
        f'<svg class="uw-icon uw-icon-{phase.value.lower()}" viewBox="0 0 16 16" width="16" '
        f'height="16" aria-hidden="true" focusable="false">'
        f'<path fill="currentColor" fill-rule="evenodd" d="{shape}"/></svg>'
    )
    for phase, shape in SIGNS.items()
}
